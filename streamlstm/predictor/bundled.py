"""The models that come with the package."""

from pathlib import Path

PRETRAINED = Path(__file__).parents[1] / "pretrained"


def bundled_model(name: str) -> Path:
    """The file of a bundled model. Raises ValueError for a name that is not bundled."""
    bundled = {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}
    if name not in bundled:
        names = ", ".join(bundled)
        raise ValueError(f"there is neither a file nor a bundled model named {name!r}; bundled models: {names}")
    return bundled[name]
