"""visionkit: detection and keypoints that train and run on an ordinary CPU."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout models/, datasets/ and apps/ stand beside this folder; in a wheel they are inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "models").is_dir():
    __path__.append(str(_checkout))
