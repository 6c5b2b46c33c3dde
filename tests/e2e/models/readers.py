"""Opens one asymmetric model in every format with other people's programs: all must find the same triangles, box and
orientation, and a surface that is wound outwards.

    cargo test -p export --test golden          writes the files, into tmp/golden in the target folder
    $(infra/tools.py path mesh-python) tests/e2e/models/readers.py FOLDER     trimesh, Assimp, OpenUSD, lib3mf, manifold
    $(infra/tools.py path blender) tests/e2e/models/readers.py FOLDER         Blender, where it runs
"""

import importlib.util
import pathlib
import sys
import tempfile
import zipfile

import numpy

FOLDER = pathlib.Path(sys.argv[1])
TRIANGLES = 12
# The golden object's width, height and depth; one corner sticks out to the right, up and to the front.
EXTENTS = numpy.array([1.4, 0.9, 0.5]) / 1.4
METRE, MILLIMETRES = 1.0, 100.0
# Where a reader has right, up and front: axis and sign.
Y_UP = ((0, 1), (1, 1), (2, 1))
Z_UP = ((0, 1), (2, 1), (1, -1))


def check(reader, name, points, faces, axes, size, floor=False):
    """`points` as rows of three, `faces` as rows of three indices."""
    what = f"{reader}: {name}"
    points, faces = numpy.asarray(points, float), numpy.asarray(faces, int).reshape(-1, 3)
    assert len(faces) == TRIANGLES, (what, len(faces))
    seen = numpy.stack([sign * points[:, axis] for axis, sign in axes], axis=1)
    low, high = seen.min(0), seen.max(0)
    assert numpy.allclose(high - low, EXTENTS * size, rtol=2e-3, atol=1e-4 * size), (what, high - low)
    corner = seen[seen[:, 1].argmax()]
    assert numpy.allclose(corner, high, atol=1e-3 * size), (what, corner, high)
    assert not floor or abs(low[1]) < 1e-3 * size, (what, low)
    a, b, c = (seen[faces[:, k]] for k in range(3))
    volume = (a * numpy.cross(b, c)).sum() / 6
    assert volume > 0.05 * size**3, (what, volume)
    print(f"{what}: {len(faces)} triangles, {numpy.round(high - low, 4).tolist()}")


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
    }
    for name, facts in files.items():
        mesh = trimesh.load(obj / name if name == "model.obj" else FOLDER / name, force="mesh")
        check("trimesh", name, mesh.vertices, mesh.faces, *facts)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
        assert mesh.is_watertight and mesh.is_winding_consistent, name


def by_assimp(obj):
    """Not the packed GLB: Assimp reads quantised positions as floats."""
    import assimp_py

    files = {
        FOLDER / "model.glb": (Y_UP, METRE, False),
        obj / "model.obj": (Y_UP, METRE, True),
        FOLDER / "model.stl": (Z_UP, MILLIMETRES, True),
        FOLDER / "model.ply": (Z_UP, MILLIMETRES, True),
        FOLDER / "model.3mf": (Z_UP, MILLIMETRES, True),
    }
    flags = assimp_py.Process_Triangulate | assimp_py.Process_ValidateDataStructure
    for path, facts in files.items():
        meshes = assimp_py.import_file(str(path), flags).meshes
        assert len(meshes) == 1, (path.name, len(meshes))
        points = numpy.array(meshes[0].vertices, dtype=float).reshape(-1, 3)
        check("assimp", path.name, points, numpy.array(meshes[0].indices, dtype=int), *facts)


def by_openusd():
    from pxr import Usd, UsdGeom, UsdShade, UsdValidation

    path = str(FOLDER / "model.usdz")
    stage = Usd.Stage.Open(path)
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    (mesh,) = (UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh))
    assert set(mesh.GetFaceVertexCountsAttr().Get()) == {3}
    points = [tuple(point) for point in mesh.GetPointsAttr().Get()]
    check("openusd", "model.usdz", points, list(mesh.GetFaceVertexIndicesAttr().Get()), Y_UP, METRE)
    material, _ = UsdShade.MaterialBindingAPI(mesh.GetPrim()).ComputeBoundMaterial()
    assert material, "no material is bound"
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
    check("lib3mf", "model.3mf", points, faces, Z_UP, MILLIMETRES, True)


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
        check("blender", path.name, points, faces, Z_UP, size, floor)
        if path.suffix in (".glb", ".obj", ".usdz"):
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
