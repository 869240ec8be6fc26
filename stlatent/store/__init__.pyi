from .dataset import LatentDataset
from .header import Header
from .labels import VectorFile, folder_classes
from .manifest import Manifest
from .reader import LatentStore
from .records import Failure, Item, Statistics
from .shuffle import LatentStream
from .stored import StoredLevel
from .summary import LevelSummary
from .windows import LatentWindow, collate

__all__ = [
    "Failure",
    "Header",
    "Item",
    "LatentDataset",
    "LatentStore",
    "LatentStream",
    "LatentWindow",
    "LevelSummary",
    "Manifest",
    "Statistics",
    "StoredLevel",
    "VectorFile",
    "collate",
    "folder_classes",
]
