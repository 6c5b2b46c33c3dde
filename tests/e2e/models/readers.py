"""Opens one asymmetric model in every format with other people's programs: all must find the same triangles, box,
orientation and texture, and a surface that is wound outwards. Printers' formats are sliced too.

    cargo test -p export --test golden          writes the files, into tmp/golden in the target folder
    $(infra/tools.py path mesh-python) tests/e2e/models/readers.py FOLDER     trimesh, Assimp, OpenUSD, lib3mf,
                                                     manifold, Pillow, the Khronos validator, CuraEngine
    $(infra/tools.py path blender) tests/e2e/models/readers.py FOLDER         Blender, where it runs
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy

FOLDER = pathlib.Path(sys.argv[1])
TOOLS = pathlib.Path(__file__).resolve().parents[3] / "infra" / "tools.py"
TRIANGLES = 432
LEVELS = (50, 25, 10)
# The golden object's width, height and depth; one corner sticks out to the right, up and to the front.
EXTENTS = numpy.array([1.4, 0.9, 0.5]) / 1.4
METRE, MILLIMETRES = 1.0, 100.0
# Where a reader has right, up and front: axis and sign.
Y_UP = ((0, 1), (1, 1), (2, 1))
Z_UP = ((0, 1), (2, 1), (1, -1))


def check(reader, name, points, faces, axes, size, floor=False, share=1.0):
    """`points` as rows of three, `faces` as rows of three indices. A level of detail has a `share` of the faces.
    Returns where each point is in the box, from 0 to 1 to the right and upwards."""
    what = f"{reader}: {name}"
    points, faces = numpy.asarray(points, float), numpy.asarray(faces, int).reshape(-1, 3)
    assert 0.7 * share * TRIANGLES <= len(faces) <= share * TRIANGLES, (what, len(faces))
    assert share < 1 or len(faces) == TRIANGLES, (what, len(faces))
    seen = numpy.stack([sign * points[:, axis] for axis, sign in axes], axis=1)
    low, high = seen.min(0), seen.max(0)
    slack = 2e-3 if share == 1 else 5e-2
    assert numpy.allclose(high - low, EXTENTS * size, rtol=slack, atol=1e-4 * size), (what, high - low)
    corner = seen[seen[:, 1].argmax()]
    assert numpy.allclose(corner, high, atol=slack * size), (what, corner, high)
    assert not floor or abs(low[1]) < 1e-3 * size, (what, low)
    a, b, c = (seen[faces[:, k]] for k in range(3))
    volume = (a * numpy.cross(b, c)).sum() / 6
    assert volume > 0.05 * size**3, (what, volume)
    print(f"{what}: {len(faces)} triangles, {numpy.round(high - low, 4).tolist()}")
    return ((seen - low) / (high - low))[:, :2]


def mapped(what, places, uvs, slack=0.01):
    """Texture coordinates with their origin at the lower left: this texture lies over the front as it is seen."""
    uvs = numpy.asarray(uvs, float).reshape(-1, 2)
    assert numpy.allclose(uvs, places, atol=slack), (what, numpy.abs(uvs - places).max())


def pictured(what, image):
    """Red grows to the right, green downwards."""
    pixels = numpy.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (64, 64, 3), (what, pixels.shape)
    corners = [pixels[0, 0].tolist(), pixels[0, -1].tolist(), pixels[-1, 0].tolist()]
    assert corners == [[60, 60, 90], [249, 60, 90], [60, 249, 90]], (what, corners)


def coloured(what, places, colours, slack):
    """A colour per vertex, 0 to 255: that of the texture there."""
    right, up = places[:, 0], places[:, 1]
    expect = numpy.stack([60 + 190 * right, 60 + 190 * (1 - up)], axis=1)
    found = numpy.asarray(colours, float)[:, :2]
    assert numpy.allclose(found, expect, atol=slack), (what, numpy.abs(found - expect).max())


def tool(name):
    """The program of a tool of infra/tools.py."""
    found = subprocess.run([sys.executable, str(TOOLS), "path", name], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def unpacked(name, into):
    """The files of a zip."""
    with zipfile.ZipFile(FOLDER / name) as archive:
        assert archive.testzip() is None, name
        archive.extractall(into)
    return pathlib.Path(into)


def by_trimesh(obj):
    import trimesh

    files = {
        "model.glb": (Y_UP, METRE, False),
        "model.packed.glb": (Y_UP, METRE, False),
        "model.obj": (Y_UP, METRE, True),
        "model.stl": (Z_UP, MILLIMETRES, True),
        "model.ply": (Z_UP, MILLIMETRES, True),
        "model.3mf": (Z_UP, MILLIMETRES, True),
        **{f"model.lod{percent}.glb": (Y_UP, METRE, False, percent / 100) for percent in LEVELS},
    }
    for name, facts in files.items():
        mesh = trimesh.load(obj / name if name == "model.obj" else FOLDER / name, force="mesh")
        places = check("trimesh", name, mesh.vertices, mesh.faces, *facts)
        if name.endswith((".glb", ".obj")):
            level = "lod" in name
            uvs = numpy.array(mesh.visual.uv, float)
            if "packed" in name:
                # It takes normalised whole numbers as they are, and turns v over in their 16 bits.
                uvs = numpy.stack([uvs[:, 0] / 65535, 1 - (1 - uvs[:, 1]) % 65536 / 65535], axis=1)
            mapped(name, places, uvs, 0.05 if level else 0.01)
            material = mesh.visual.material
            pictured(name, material.image if name == "model.obj" else material.baseColorTexture)
            if name.endswith(".glb"):
                normals = material.normalTexture
                assert (normals is None) == level, (name, normals)
                assert level or set(normals.convert("RGB").getdata()) == {(128, 128, 255)}, name
        if name == "model.ply":
            coloured(name, places, mesh.visual.vertex_colors, 8)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
        assert mesh.is_watertight and mesh.is_winding_consistent, name
    assert "norm normal.png" in (obj / "model.mtl").read_text().splitlines()
    assert (obj / "normal.png").read_bytes().startswith(b"\x89PNG")


def by_assimp(obj):
    """Not the packed GLB, whose quantised positions Assimp reads as floats; this build of it has no reader of USD."""
    import assimp_py

    files = {
        FOLDER / "model.glb": (Y_UP, METRE, False),
        obj / "model.obj": (Y_UP, METRE, True),
        FOLDER / "model.stl": (Z_UP, MILLIMETRES, True),
        FOLDER / "model.ply": (Z_UP, MILLIMETRES, True),
        FOLDER / "model.3mf": (Z_UP, MILLIMETRES, True),
        **{FOLDER / f"model.lod{percent}.glb": (Y_UP, METRE, False, percent / 100) for percent in LEVELS},
    }
    flags = assimp_py.Process_Triangulate | assimp_py.Process_ValidateDataStructure
    for path, facts in files.items():
        meshes = assimp_py.import_file(str(path), flags).meshes
        assert len(meshes) == 1, (path.name, len(meshes))
        points = numpy.array(meshes[0].vertices, dtype=float).reshape(-1, 3)
        places = check("assimp", path.name, points, numpy.array(meshes[0].indices, dtype=int), *facts)
        if path.suffix in (".glb", ".obj"):
            mapped(path.name, places, numpy.array(meshes[0].texcoords[0]), 0.05 if "lod" in path.name else 0.01)


def by_openusd():
    from PIL import Image
    from pxr import Usd, UsdGeom, UsdShade, UsdValidation

    path = str(FOLDER / "model.usdz")
    stage = Usd.Stage.Open(path)
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    (mesh,) = (UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh))
    assert set(mesh.GetFaceVertexCountsAttr().Get()) == {3}
    points = [tuple(point) for point in mesh.GetPointsAttr().Get()]
    corners = numpy.array(mesh.GetFaceVertexIndicesAttr().Get())
    places = check("openusd", "model.usdz", points, corners, Y_UP, METRE)
    uvs = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").ComputeFlattened()
    mapped("model.usdz", places[corners], [tuple(uv) for uv in uvs])
    with zipfile.ZipFile(path) as archive, archive.open("base_colour.png") as png:
        pictured("model.usdz", Image.open(png))
    material, _ = UsdShade.MaterialBindingAPI(mesh.GetPrim()).ComputeBoundMaterial()
    assert material, "no material is bound"
    surface = material.ComputeSurfaceSource()[0]
    sources = {name: surface.GetInput(name).GetConnectedSources()[0] for name in ("diffuseColor", "normal")}
    files = {n: UsdShade.Shader(s[0].source.GetPrim()).GetInput("file").Get() for n, s in sources.items()}
    found = {name: file.path for name, file in files.items()}
    assert found == {"diffuseColor": "base_colour.png", "normal": "normal.png"}, found
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    said = UsdValidation.ValidationContext(validators).Validate(stage)
    assert len(validators) > 10 and not said, [error.GetMessage() for error in said]


def by_lib3mf():
    import lib3mf

    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(FOLDER / "model.3mf"))
    assert reader.GetWarningCount() == 0, [reader.GetWarning(n) for n in range(reader.GetWarningCount())]
    groups = model.GetMetaDataGroup()
    names = [groups.GetMetaData(n).GetName() for n in range(groups.GetMetaDataCount())]
    assert {"Application", "LicenseTerms"} <= set(names), names
    assert model.GetUnit() == lib3mf.ModelUnit.MilliMeter
    objects = model.GetMeshObjects()
    assert objects.MoveNext()
    mesh = objects.GetCurrentMeshObject()
    assert mesh.IsManifoldAndOriented() and not objects.MoveNext()
    points = [list(vertex.Coordinates) for vertex in mesh.GetVertices()]
    faces = [list(triangle.Indices) for triangle in mesh.GetTriangleIndices()]
    places = check("lib3mf", "model.3mf", points, faces, Z_UP, MILLIMETRES, True)
    shades = {}
    for face, triangle in enumerate(faces):
        properties = mesh.GetTriangleProperties(face)
        group = model.GetColorGroupByID(properties.ResourceID)
        for vertex, shade in zip(triangle, properties.PropertyIDs):
            colour = group.GetColor(shade)
            shades[vertex] = [colour.Red, colour.Green, colour.Blue]
    # Of five bits per channel.
    coloured("model.3mf", places, [shades[vertex] for vertex in range(len(points))], 14)


def by_manifold():
    """What solid modellers and slicers ask: is it a solid as it is, without repair?"""
    import manifold3d
    import trimesh

    mesh = trimesh.load(FOLDER / "model.stl")
    solid = manifold3d.Manifold(
        manifold3d.Mesh(numpy.asarray(mesh.vertices, numpy.float32), numpy.asarray(mesh.faces, numpy.uint32))
    )
    assert solid.status() == manifold3d.Error.NoError and solid.num_tri() == TRIANGLES, solid.status()
    assert abs(solid.volume() / mesh.volume - 1) < 1e-3, (solid.volume(), mesh.volume)
    print(f"manifold: model.stl: {solid.num_tri()} triangles, a solid of {solid.volume():.0f} mm³")


def by_pillow():
    """The turn begins with the preview."""
    from PIL import Image

    preview = numpy.asarray(Image.open(FOLDER / "preview.png").convert("RGBA")).astype(int)
    assert preview.shape == (512, 512, 4), preview.shape
    for name, slack in (("turntable.webp", 0), ("turntable.gif", 10)):
        turn = Image.open(FOLDER / name)
        assert turn.n_frames == 36 and turn.size == (512, 512), (name, turn.n_frames, turn.size)
        turn.seek(0)
        first = numpy.asarray(turn.convert("RGBA")).astype(int)
        shown = preview[:, :, 3] == 255
        assert (first[:, :, 3][shown] == 255).all() and (first[:, :, 3][preview[:, :, 3] == 0] == 0).all(), name
        # A GIF has 255 colours for the whole turn.
        gap = numpy.abs(first - preview)[shown].mean()
        assert gap <= slack, (name, gap)
        print(f"pillow: {name}: {turn.n_frames} pictures, the first is the preview within {gap:.1f} of 255")


def by_khronos():
    names = ["model", "model.packed", *(f"model.lod{percent}" for percent in LEVELS)]
    for name in names:
        said = subprocess.run([tool("gltf-validator"), str(FOLDER / f"{name}.glb")], capture_output=True, text=True)
        assert said.returncode == 0, (name, said.stdout)
        print(f"khronos: {name}.glb: no errors, no warnings")


def by_cura():
    """What a slicer would extrude has the model's size, less half a line's width on each side."""
    line = 0.4
    for name in ("model.stl", "model.3mf"):
        said = subprocess.run([tool("slicer"), str(FOLDER / name)], capture_output=True, text=True, check=True)
        report = json.loads(said.stdout)
        assert not report["warnings"], (name, report)
        size = numpy.array(report["high"]) - report["low"]
        width, height, depth = EXTENTS * MILLIMETRES
        # The tip of the corner that sticks out is thinner than a line.
        assert width - 2 <= size[0] <= width - line + 0.1, (name, size)
        assert depth - 2 <= size[1] <= depth - line + 0.1, (name, size)
        assert height - 1 <= report["high"][2] <= height, (name, report)
        print(f"cura: {name}: {report['layers']} layers, {numpy.round(size, 1).tolist()} mm")


def by_blender(obj):
    """Its scenes are Z up: each importer turns what is not."""
    import bpy

    files = [
        (bpy.ops.import_scene.gltf, FOLDER / "model.glb", METRE, False),
        (bpy.ops.import_scene.gltf, FOLDER / "model.packed.glb", METRE, False),
        (bpy.ops.wm.obj_import, obj / "model.obj", METRE, True),
        (bpy.ops.wm.stl_import, FOLDER / "model.stl", MILLIMETRES, True),
        (bpy.ops.wm.ply_import, FOLDER / "model.ply", MILLIMETRES, True),
        (bpy.ops.wm.usd_import, FOLDER / "model.usdz", METRE, False),
    ]
    for opener, path, size, floor in files:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        assert opener(filepath=str(path)) == {"FINISHED"}, path
        (found,) = (thing for thing in bpy.context.scene.objects if thing.type == "MESH")
        mesh = found.data
        points = [list(found.matrix_world @ vertex.co) for vertex in mesh.vertices]
        assert all(len(polygon.vertices) == 3 for polygon in mesh.polygons), path
        faces = [list(polygon.vertices) for polygon in mesh.polygons]
        places = check("blender", path.name, points, faces, Z_UP, size, floor)
        if path.suffix in (".glb", ".obj", ".usdz"):
            corners = [loop.vertex_index for loop in mesh.loops]
            mapped(path.name, places[corners], [tuple(uv.uv) for uv in mesh.uv_layers.active.data])
            nodes = [node for material in mesh.materials for node in material.node_tree.nodes]
            images = [node.image for node in nodes if node.type == "TEX_IMAGE"]
            assert images and all(image.size[0] > 0 for image in images), (path.name, "no texture")


with tempfile.TemporaryDirectory() as folder:
    unzipped = unpacked("model.obj.zip", folder)
    if importlib.util.find_spec("bpy"):
        by_blender(unzipped)
    else:
        by_trimesh(unzipped)
        by_assimp(unzipped)
        by_openusd()
        by_lib3mf()
        by_manifold()
        by_pillow()
        by_khronos()
        by_cura()
