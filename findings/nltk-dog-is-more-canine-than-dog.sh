#!/usr/bin/env bash
# NLTK 3.10.4: the Wu-Palmer similarity of a synset with itself can be below 1, and below that with its own hypernym.
#
# wup_similarity takes the common ancestor that lies deepest by its *shortest* way to the root, then measures by the
# *longest* one. A synset with two hypernyms, one of them near the root, has a shorter shortest way than its other
# hypernym, which is then taken as the "lowest" ancestor that the synset shares with itself. Whoever ranks classes by
# the measure, or divides by its greatest value, finds a class that is not its own best substitute. In WordNet 3.0
# dog.n.01 with itself gets 0.929 and with canine.n.02 0.963; of every tenth noun synset, 192 of 8212 are so.
#
# Seen, on a small WordNet where dog is a canine, four steps below entity, and a pet, one step below:
#   dog with dog 0.833, dog with canine 0.909; shortest ways to the root 2 and 4; path similarity of dog and dog 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "nltk==3.10.4"
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import nltk
from nltk.corpus.reader.wordnet import WordNetCorpusReader

parents = {"entity": [], "organism": ["entity"], "mammal": ["organism"], "carnivore": ["mammal"],
           "canine": ["carnivore"], "pet": ["entity"], "dog": ["canine", "pet"]}  # fmt: skip


def line(word, offsets):
    pointers = "".join(f"@ {offsets.get(parent, 0):08d} n 0000 " for parent in parents[word])
    return f"{offsets.get(word, 0):08d} 03 n 01 {word} 0 {len(parents[word]):03d} {pointers}| a synset  \n"


offsets, end = {}, 0
for word in parents:  # an offset is the place of a synset's line in the file
    offsets[word], end = end, end + len(line(word, {}))
files = {f"{stem}.{part}": "" for stem in ("data", "index") for part in ("noun", "verb", "adj", "adv")}
files |= {f"{part}.exc": "" for part in ("noun", "verb", "adj", "adv")} | {"index.sense": "", "cntlist.rev": ""}
files["lexnames"] = "".join(f"{number:02d}\tnoun.{number}\t1\n" for number in range(45))
files["data.noun"] = "".join(line(word, offsets) for word in parents)
files["index.noun"] = "".join(f"{word} n 1 0 1 0 {offsets[word]:08d}  \n" for word in sorted(parents))
root = Path(sys.argv[1]) / "corpora" / "wordnet"
root.mkdir(parents=True)
for name, text in files.items():
    (root / name).write_text(text)
nltk.data.path.insert(0, sys.argv[1])
reader = WordNetCorpusReader(str(root), None)
dog, canine = reader.synset("dog.n.01"), reader.synset("canine.n.01")
itself, hypernym = dog.wup_similarity(dog), dog.wup_similarity(canine)
print(f"dog with dog {itself:.3f}, dog with canine {hypernym:.3f}; shortest ways to the root {dog.min_depth()} and "
      f"{canine.min_depth()}; path similarity of dog and dog {dog.path_similarity(dog)}")
assert itself < hypernym < 1 == dog.path_similarity(dog), "NLTK's Wu-Palmer similarity behaves differently now"
PYTHON
