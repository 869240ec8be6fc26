from .band import Band
from .cache import FieldCache
from .cube import Placement, voxel_centres, voxel_size
from .decoded import mesh_from_planes
from .extract import mesh_from_field, mesh_from_function
from .field import Field, FieldSettings, Route
from .metrics import SurfaceDistance, colour_psnr, compare_surfaces, volume_iou
from .near import band_from_surface
from .offset import mesh_from_band
from .preview import contact_sheet, shape_picture, turntable
from .read import MESH_SUFFIXES, BadMeshError, read_surface, surface_of
from .surface import Surface
from .texture import bake_texture
from .vary import varied
from .volumes import VOLUME_SUFFIXES, Volumes, field_from_occupancy, read_volumes
from .voxelise import field_from_surface
from .write import write_mesh

__all__ = [
    "BadMeshError",
    "Band",
    "Field",
    "FieldCache",
    "FieldSettings",
    "MESH_SUFFIXES",
    "Placement",
    "Route",
    "Surface",
    "SurfaceDistance",
    "VOLUME_SUFFIXES",
    "Volumes",
    "bake_texture",
    "band_from_surface",
    "colour_psnr",
    "compare_surfaces",
    "contact_sheet",
    "field_from_occupancy",
    "field_from_surface",
    "mesh_from_band",
    "mesh_from_field",
    "mesh_from_function",
    "mesh_from_planes",
    "read_surface",
    "read_volumes",
    "shape_picture",
    "surface_of",
    "turntable",
    "varied",
    "volume_iou",
    "voxel_centres",
    "voxel_size",
    "write_mesh",
]
