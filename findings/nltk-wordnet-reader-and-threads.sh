#!/usr/bin/env bash
# NLTK 3.10.4: look-ups in one WordNet reader from several threads fail now and then, for words that are there.
#
# The reader keeps one open file per part of speech and goes to a synset by seek() and readline(), without a lock.
# Another thread may seek in between. The line read is then another synset's, which the reader notices by its number: it
# warns and puts None among the synsets, on which the caller's next step fails. What has been read once is kept, so a
# second try succeeds, and nothing fails in a test that has warmed the reader up. One thread loses nothing.
#
# Seen, 2,000 nouns (threads hand over every 20 microseconds, to show in a second what else takes minutes):
#   one thread: 0 look-ups failed; 8 threads: 35 failed, the first with [None]; again, warm: 0 failed
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "nltk==3.10.4"
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nltk
from nltk.corpus.reader.wordnet import WordNetCorpusReader

words = [f"noun{number:04d}" for number in range(2000)]
line = "{:08d} 03 n 01 {} 0 000 | a synset  \n"
size = len(line.format(0, words[0]))  # an offset is the place of a synset's line in the file
files = {f"{stem}.{part}": "" for stem in ("data", "index") for part in ("noun", "verb", "adj", "adv")}
files |= {f"{part}.exc": "" for part in ("noun", "verb", "adj", "adv")} | {"index.sense": "", "cntlist.rev": ""}
files["lexnames"] = "".join(f"{number:02d}\tnoun.{number}\t1\n" for number in range(45))
files["data.noun"] = "".join(line.format(place * size, word) for place, word in enumerate(words))
files["index.noun"] = "".join(f"{word} n 1 0 1 0 {place * size:08d}  \n" for place, word in enumerate(words))
root = Path(sys.argv[1]) / "corpora" / "wordnet"
root.mkdir(parents=True)
for name, text in files.items():
    (root / name).write_text(text)
nltk.data.path.insert(0, sys.argv[1])
sys.setswitchinterval(2e-5)


def failures(reader, threads):
    def look_up(word):
        try:
            return "" if (found := reader.synsets(word, "n"))[0] and found[0].lemma_names() == [word] else str(found)
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(threads) as pool:
        return [failure for failure in pool.map(look_up, words) if failure]


alone = failures(WordNetCorpusReader(str(root), None), 1)
shared = WordNetCorpusReader(str(root), None)
together = failures(shared, 8)
warm = failures(shared, 1) and failures(shared, 8)
print(f"one thread: {len(alone)} look-ups failed; 8 threads: {len(together)} failed, the first with "
      f"{together[0] if together else 'nothing'}; again, warm: {len(warm)} failed")
assert not alone and together and not warm, "NLTK's reader behaves differently now"
PYTHON
