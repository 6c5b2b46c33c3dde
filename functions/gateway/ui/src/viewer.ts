// The model, turned by hand: three.js, in a file of its own that is loaded when a model is looked at. It
// draws when something changed, and not otherwise.
import {
  Box3,
  Color,
  DirectionalLight,
  HemisphereLight,
  Material,
  Mesh,
  MeshStandardMaterial,
  type Object3D,
  PerspectiveCamera,
  Scene,
  Sphere,
  Spherical,
  SRGBColorSpace,
  Texture,
  TextureLoader,
  Vector3,
  WebGLRenderer,
} from 'three';
import { OrbitControls } from 'three/addons/controls/OrbitControls.js';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';

export type Look = 'textured' | 'clay' | 'wireframe';

export interface Viewer {
  look(look: Look): void;
  reset(): void;
  /** Radians around the upright axis and up, and the factor of the distance. */
  turn(around: number, up: number, nearer: number): void;
  triangles: number;
  dispose(): void;
}

async function load(data: ArrayBuffer): Promise<Object3D> {
  const loader = new GLTFLoader();
  // By <img>: the gateway's policy lets pictures come from blobs, and nothing be fetched from them.
  loader.register((parser) => {
    parser.textureLoader = new TextureLoader(parser.options.manager);
    return { name: 'MESHWRIGHT_textures' };
  });
  return (await loader.parseAsync(data, '')).scene;
}

function meshes(root: Object3D): Mesh[] {
  const found: Mesh[] = [];
  root.traverse((node) => {
    if (node instanceof Mesh) found.push(node);
  });
  return found;
}

function triangles(all: Mesh[]): number {
  const count = ({ geometry }: Mesh) => (geometry.index ?? geometry.getAttribute('position')).count / 3;
  return all.reduce((sum, mesh) => sum + count(mesh), 0);
}

function light(scene: Scene): void {
  const sun = new DirectionalLight(0xffffff, 2.2);
  sun.position.set(1.5, 2.5, 3);
  const rim = new DirectionalLight(0xffffff, 0.9);
  rim.position.set(-2, 1, -2.5);
  scene.add(new HemisphereLight(0xffffff, 0x9a9a94, 1.5), sun, rim);
}

export async function view(canvas: HTMLCanvasElement, data: ArrayBuffer): Promise<Viewer> {
  const root = await load(data);
  const all = meshes(root);
  const own = new Map<Mesh, Material | Material[]>(all.map((mesh) => [mesh, mesh.material]));
  const clay = new MeshStandardMaterial({ color: new Color(0xb9b4aa), roughness: 0.85 });
  const wires = new MeshStandardMaterial({ color: new Color(0x4f9b8b), wireframe: true });
  // Kept, so that the picture can be taken at any time.
  const renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
  renderer.outputColorSpace = SRGBColorSpace;
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  const scene = new Scene();
  light(scene);
  scene.add(root);
  const ball = new Box3().setFromObject(root).getBoundingSphere(new Sphere());
  const camera = new PerspectiveCamera(35, 1, ball.radius / 100, ball.radius * 100);
  const controls = new OrbitControls(camera, canvas);
  controls.enablePan = false;
  controls.minDistance = ball.radius * 1.05;
  controls.maxDistance = ball.radius * 12;

  let isDue = false;
  const draw = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      renderer.render(scene, camera);
    });
  };
  const reset = () => {
    controls.target.copy(ball.center);
    camera.position.copy(ball.center).add(new Vector3(0.55, 0.3, 1).setLength(ball.radius * 3.1));
    controls.update();
    draw();
  };
  const fit = () => {
    const { clientWidth, clientHeight } = canvas;
    if (clientWidth === 0 || clientHeight === 0) return;
    renderer.setSize(clientWidth, clientHeight, false);
    camera.aspect = clientWidth / clientHeight;
    camera.updateProjectionMatrix();
    draw();
  };
  const size = new ResizeObserver(fit);
  size.observe(canvas);
  controls.addEventListener('change', draw);
  reset();
  fit();
  return {
    triangles: triangles(all),
    reset,
    look(look) {
      for (const mesh of all) {
        mesh.material = { textured: own.get(mesh)!, clay, wireframe: wires }[look];
      }
      draw();
    },
    turn(around, up, nearer) {
      const at = new Spherical().setFromVector3(camera.position.clone().sub(controls.target));
      at.theta += around;
      at.phi -= up;
      at.radius = Math.min(Math.max(at.radius * nearer, controls.minDistance), controls.maxDistance);
      camera.position.setFromSpherical(at.makeSafe()).add(controls.target);
      controls.update();
      draw();
    },
    dispose() {
      size.disconnect();
      controls.dispose();
      for (const mesh of all) mesh.geometry.dispose();
      for (const material of [clay, wires, ...[...own.values()].flat()]) {
        for (const value of Object.values(material)) if (value instanceof Texture) value.dispose();
        material.dispose();
      }
      renderer.dispose();
    },
  };
}
