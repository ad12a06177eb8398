"""Draw the world's art from the npm packages that hold it: the shipped atlases come from here and nowhere else.

    npm pack @iconify-json/noto@1.2.9 …            (the packages are named in PACKAGES)
    pip install resvg-py
    python tools/rasterise_art.py FOLDER_WITH_THE_TGZ_FILES

Each style becomes one WebP with a cell for every icon, cropped to what is drawn and scaled to fill the cell.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import resvg_py
from PIL import Image

from litetext.mini.concepts import CONCEPTS, STYLES

CELL = 96
COLUMNS = 16
OUTPUT = Path(__file__).parent.parent / "src" / "litetext" / "data" / "world"

PACKAGES = {
    "noto": "iconify-json-noto-1.2.9.tgz",
    "fluent": "iconify-json-fluent-emoji-flat-1.2.6.tgz",
    "twemoji": "iconify-json-twemoji-1.2.5.tgz",
    "fxemoji": "iconify-json-fxemoji-1.2.2.tgz",
}

# FxEmojis draws these on a picture of their own, not on nothing.
FXEMOJI_WITH_BACKGROUND = {"sailboat", "tent", "ship", "volcano", "ferris-wheel", "fountain"}

# FxEmojis writes names without hyphens, and has some names of its own.
FXEMOJI_NAMES = {
    "pizza": "sliceofpizza",
    "scissors": "blackscissors",
    "high-heeled-shoe": "heels",
    "eggplant": "aubergine",
    "ear-of-corn": "earofmaize",
    "hot-pepper": "chilipepper",
    "house": "housebuilding",
    "rabbit": "bunnyside",
    "gem-stone": "gem",
    "locomotive": "steamlocomotive",
    "t-shirt": "mansshirt",
    "necktie": "tie",
    "telephone": "blacktelephone",
    "dragon": "dragonside",
    "hourglass-done": "hourglass",
    "backpack": "schoolsatchel",
    "camel": "dromedarycamel",
    "leopard": "leopardside",
    "castle": "europeancastle",
    "ewe": "sheep",
}


def read_icons(package: Path) -> dict:
    """Return the parsed icons.json of an npm package."""
    with tarfile.open(package) as archive:
        return json.load(archive.extractfile("package/icons.json"))


def find_icon(icons: dict, style: str, name: str) -> dict | None:
    """Return the icon's body and size, or None where the style lacks it."""
    candidates = [name]
    if style == "fxemoji":
        if name in FXEMOJI_WITH_BACKGROUND:
            return None
        candidates = [FXEMOJI_NAMES.get(name, name), name.replace("-", "")]
    for candidate in candidates:
        entry = icons["icons"].get(icons.get("aliases", {}).get(candidate, {}).get("parent", candidate))
        if entry:
            return {"width": icons["width"], "height": icons["height"], **entry}
    return None


def draw(icon: dict) -> Image.Image:
    """Return the icon cropped to what is drawn, its longer side CELL - 2 pixels, centred in a transparent cell."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {icon["width"]} {icon["height"]}">{icon["body"]}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=512, height=512)
    picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox())
    picture.thumbnail((CELL - 2, CELL - 2), Image.Resampling.LANCZOS)
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    return cell


def main(folder: Path) -> None:
    """Write one atlas a style and art.json, which says what lies in which cell."""
    names = sorted(concept.icon for concept in CONCEPTS)
    index: dict = {"cell": CELL, "columns": COLUMNS, "styles": {}}
    for style in STYLES:
        icons = read_icons(folder / PACKAGES[style])
        found = {name: icon for name in names if (icon := find_icon(icons, style, name))}
        atlas = Image.new("RGBA", (COLUMNS * CELL, -(-len(found) // COLUMNS) * CELL))
        for cell, icon in enumerate(found.values()):
            atlas.paste(draw(icon), (cell % COLUMNS * CELL, cell // COLUMNS * CELL))
        atlas.save(OUTPUT / f"{style}.webp", quality=82, alpha_quality=90, method=6)
        index["styles"][style] = {"file": f"{style}.webp", "icons": list(found)}
        print(f"{style}: {len(found)} icons, {(OUTPUT / f'{style}.webp').stat().st_size / 1e6:.2f} MB", file=sys.stderr)
    (OUTPUT / "art.json").write_text(json.dumps(index) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
