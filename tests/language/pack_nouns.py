"""How the shipped nouns were packed from WordNet 3.0: its database format, and what they mean in a file of its own.

``python -m tests.language.pack_nouns FOLDER ARCHIVE GLOSSES`` packs both again from WordNet's own files.
"""

import io
import lzma
import re
import sys
import tarfile
from pathlib import Path

KEPT_POINTERS = ("@", "@i")  # hypernym, instance hypernym: all that a distance needs


def pack_nouns(source: Path, target: Path) -> None:
    """Pack the nouns of a WordNet in Princeton's database format, without glosses.

    ``source`` holds ``data.noun``, ``index.noun``, ``noun.exc`` and ``lexnames`` (for example NLTK's ``wordnet``).
    Hypernym and instance-hypernym pointers stay, byte offsets are computed again, the other parts of speech hold only
    the licence. The same source gives the same bytes.
    """
    compression = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 16 << 20}]
    with lzma.open(target, "wb", filters=compression) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for name, content in noun_database(source).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def pack_glosses(source: Path, target: Path) -> None:
    """Pack the definitions of the nouns, a line each in the order of ``data.noun``, without their examples."""
    lines = (source / "data.noun").read_text(encoding="utf-8").splitlines()
    glosses = [line.split("|", 1)[1].strip() for line in lines if line.strip() and not line.startswith("  ")]
    text = "".join(re.split(r';\s*"', gloss)[0].strip() + "\n" for gloss in glosses)
    target.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def noun_database(source: Path) -> dict[str, bytes]:
    """The files of a noun-only database, by name: what :func:`pack_nouns` packs. NLTK opens all of them."""
    lines = {name: (source / name).read_text(encoding="utf-8").splitlines() for name in ("data.noun", "index.noun")}
    header = "".join(line + "\n" for line in lines["data.noun"] if line.startswith("  "))
    records = [_record(line) for line in lines["data.noun"] if line.strip() and not line.startswith("  ")]
    new_offset, place = {}, len(header.encode())
    for offset, head, pointers in records:
        new_offset[offset] = place
        place += len(_data_line(0, head, [(symbol, 0) for symbol, _ in pointers]).encode())
    data = [_data_line(new_offset[o], head, [(s, new_offset[t]) for s, t in found]) for o, head, found in records]
    index = []
    for line in lines["index.noun"]:
        if line.strip() and not line.startswith("  "):
            lemma, _, count, *rest = line.split()
            offsets = " ".join(f"{new_offset[offset]:08d}" for offset in rest[-int(count) :])
            index.append(f"{lemma} n {count} 1 @ {count} {rest[-int(count) - 1]} {offsets}\n")
    texts = {"data.noun": header + "".join(data), "index.noun": header + "".join(index)}
    texts |= {name: (source / name).read_text(encoding="utf-8") for name in ("noun.exc", "lexnames")}
    texts |= {f"{kind}.{part}": header for part in ("verb", "adj", "adv") for kind in ("data", "index")}
    texts |= dict.fromkeys(("verb.exc", "adj.exc", "adv.exc", "cntlist.rev", "index.sense"), "")
    return {name: text.encode() for name, text in texts.items()}


def _record(line: str) -> tuple[str, str, list[tuple[str, str]]]:
    fields = line.split("|")[0].split()
    end = 4 + 2 * int(fields[3], 16)
    pointers = [fields[at : at + 4] for at in range(end + 1, end + 1 + 4 * int(fields[end]), 4)]
    return fields[0], " ".join(fields[1:end]), [(p[0], p[1]) for p in pointers if p[0] in KEPT_POINTERS]


def _data_line(offset: int, head: str, pointers: list[tuple[str, int]]) -> str:
    tail = "".join(f"{symbol} {target:08d} n 0000 " for symbol, target in pointers)
    return f"{offset:08d} {head} {len(pointers):03d} {tail}|\n"


if __name__ == "__main__":
    pack_nouns(Path(sys.argv[1]), Path(sys.argv[2]))
    pack_glosses(Path(sys.argv[1]), Path(sys.argv[3]))
