"""The n-gram table: what is looked up and counted is what the texts have, its file is checked, and models name it."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from nncomp.blocks import token_payload
from nncomp.errors import ModelError
from nncomp.format.numbers import MAX_NGRAM_LINES, NGRAM_SLOTS
from nncomp.mixing import ngram_table
from nncomp.mixing.byte_contexts_reference import chain, combine
from nncomp.mixing.ngram_table import CLASSES, ORDERS, class_of
from nncomp.mixing.ngram_table_reference import NgramReference
from nncomp.network import registry
from nncomp.network.engine import Network
from nncomp.network.model import Model, parse_model, read_model, save_model
from nncomp.network.ngram_file import parse_ngrams, save_ngrams
from nncomp.network.registry import open_model
from nncomp.network.surprisal import surprisal_bits, token_bits
from nncomp.training import count_ngrams, held_out
from nncomp.training.assemble import assembled
from nncomp.training.corpus import Corpus, find_corpus, together
from nncomp.training.count_ngrams import Entries, Text, context_keys
from tests.conftest import environment
from tests.golden.models import by_hash
from tests.models import TEXT, small_model, small_ngrams, small_vocabulary, two_networks

BITS = small_vocabulary().bits


def text_of(*documents: bytes) -> Text:
    """Return a text of these documents; 10 bits a token are known of it."""
    ids = [small_vocabulary().encode(document).astype(np.uint16) for document in documents]
    return Text(np.concatenate(ids), np.cumsum([0, *map(len, ids)]), np.full(sum(map(len, ids)), 80, np.uint8))


def documents(count: int, size: int) -> list[bytes]:
    return [TEXT[at : at + size] for at in range(0, count * size, size)]


def with_ngrams(model: Model, folder: Path) -> Model:
    """Return the model with the small table, which stands in a file of the folder."""
    ngrams = small_ngrams()
    return replace(model, ngrams=save_ngrams(ngrams.entries, ngrams.vocab_size, {}, folder / "ngrams.safetensors"))


@pytest.mark.parametrize("order", ORDERS)
def test_keys_are_the_hashes_that_are_looked_up(order: int) -> None:
    """Arrays, kernel and definition have the same hash of the last tokens."""
    ids = small_vocabulary().encode(TEXT[:500]).astype(np.uint16)
    keys = context_keys(ids, order)
    assert len(keys) == len(ids) - order
    hashes = np.zeros(len(ORDERS), np.int64)
    for n in range(5, len(ids)):
        t1, t2, t3, t4, t5 = (int(t) for t in ids[n - 5 : n][::-1])
        expected = combine(chain(t1 + 65536 * t2, *(t3, t4, t5)[: order - 2]), order)
        assert int(keys[n - order]) >> 8 == expected
        three = chain(t1 + 65536 * t2, t3)
        sources = np.array([0, 0, t1 + 65536 * t2, three, 0, chain(three, t4, t5)])
        ngram_table.hash_ngrams(hashes, sources, t4)
        assert hashes[order - 2] == expected
    assert len(np.unique(keys >> np.uint64(8))) > len(keys) // 3


def test_the_surest_entry_is_found() -> None:
    """Kernel and definition take the same entry at each token of a text, and often the token that follows."""
    entries, ids = small_ngrams().entries.reshape(-1), small_vocabulary().encode(TEXT[:12000]).tolist()
    fast = ngram_table.Ngrams(entries, ngram_table.first_strength())
    slow = NgramReference(BITS, entries.tolist(), fast.strength.tolist())
    found, hashes = np.zeros(ngram_table.FIELDS, np.int64), np.zeros(len(ORDERS), np.int64)
    hits, orders = 0, set()
    for n in range(5, len(ids)):
        t1, t2, t3, t4, t5 = ids[n - 5 : n][::-1]
        three = chain(t1 + 65536 * t2, t3)
        ngram_table.hash_ngrams(hashes, np.array([0, 0, t1 + 65536 * t2, three, 0, chain(three, t4, t5)]), t4)
        ngram_table.look_up(fast, found, hashes, BITS)
        slow.begin([t1, t2, t3, t4, t5])
        assert found[ngram_table.TOKEN] == (-1 if slow.token is None else slow.token)
        assert found[ngram_table.CLASS] == slow.chance
        orders.add(slow.chance)
        hits += slow.token == ids[n]
    assert len(orders) > CLASSES - 3 and hits > len(ids) // 2


def test_a_table_makes_text_smaller(tmp_path: Path) -> None:
    """Whose n-grams it has; and blocks are decoded with it only."""
    model = with_ngrams(small_model(), tmp_path)
    payload = token_payload.encode_tokens(Network(model), TEXT[:3000]).payload
    assert len(payload) < len(token_payload.encode_tokens(Network(small_model()), TEXT[:3000]).payload)
    assert token_payload.decode_tokens(Network(model), payload, 3000) == TEXT[:3000]


def test_what_is_counted() -> None:
    """Against dictionaries: documents in which a token follows a context, the commonest of them, and its mean surprisal."""
    parts = documents(8, 700)
    text = text_of(*parts)
    text = text._replace(bits=np.random.default_rng(1).integers(0, 256, len(text.ids)).astype(np.uint8))
    for order in ORDERS:
        known: dict[int, Counter[int]] = defaultdict(Counter)
        least: dict[tuple[int, int, int], int] = {}
        for d, (begin, end) in enumerate(zip(text.begins[:-1].tolist(), text.begins[1:].tolist(), strict=True)):
            keys = context_keys(text.ids[begin:end], order).tolist()
            rows = zip(keys, text.ids[begin + order : end].tolist(), text.bits[begin + order : end].tolist(), strict=True)
            for key, token, bits in rows:
                least[key, token, d] = min(bits, least.get((key, token, d), 255))
        sums: dict[tuple[int, int], int] = Counter()
        for (key, token, _), bits in least.items():
            known[key][token] += 1
            sums[key, token] += bits
        found = count_ngrams.count(text, order)
        expected = {}
        for key, followers in known.items():
            best = max(followers.values())
            token = min(t for t, c in followers.items() if c == best)
            if followers.total() >= 2:
                expected[key] = token, best, followers.total(), sums[key, token] / best / 8
        columns = (found.tokens, found.best, found.total, found.bits)
        rows_found = zip(found.keys.tolist(), *(column.tolist() for column in columns), strict=True)
        assert {key: tuple(row) for key, *row in rows_found} == expected and (expected or order > 2)


def test_chances_are_those_of_other_text() -> None:
    """The contexts of one cell have the share of hits in the other text."""
    text, other = text_of(*documents(12, 600)), text_of(*documents(20, 600)[12:])
    counts = count_ngrams.count(text, 2)
    found = count_ngrams.chances(counts, other, 2)
    alike = (counts.total == 2) & (counts.best == 2)
    hits = asked = 0
    for begin, end in zip(other.begins[:-1].tolist(), other.begins[1:].tolist(), strict=True):
        for key, token in zip(context_keys(other.ids[begin:end], 2).tolist(), other.ids[begin + 2 : end].tolist(), strict=True):
            place = int(np.searchsorted(counts.keys, np.uint64(key)))
            if place < len(counts.keys) and int(counts.keys[place]) == key and alike[place]:
                asked, hits = asked + 1, hits + (int(counts.tokens[place]) == token)
    assert alike.any() and np.allclose(found[alike], (hits + 0.2) / (asked + 1))


def test_what_is_worth_an_entry() -> None:
    """Where the texts are surer than the network; what a shorter context foretells, a longer one need not."""
    text, other = text_of(*documents(20, 700)), text_of(*documents(26, 700)[20:])
    before = text.bits.copy()
    told = list[str]()
    entries = count_ngrams.find_entries(text, other, told.append)
    assert len(told) == len(ORDERS) and (entries.gains > 1).all() and (text.bits <= before).all() and (text.bits < before).any()
    sure = text_of(*documents(20, 700))
    sure.bits[:] = 0  # nothing is left to say
    assert len(count_ngrams.find_entries(sure, other, told.append).gains) == 0


def test_a_full_line_keeps_what_is_worth_most() -> None:
    rng = np.random.default_rng(3)
    entries = Entries(
        rng.integers(0, 1 << 32, 400).astype(np.uint64),
        rng.integers(0, 512, 400).astype(np.uint16),
        rng.random(400),
        rng.random(400),
    )
    made = count_ngrams.table(entries, 5, BITS)
    assert made.shape == (5, NGRAM_SLOTS) and (made > 0).all()
    lines, check_bits = (entries.hashes.astype(object) * 5) >> 32, 27 - BITS
    for line in range(5):
        order = [i for i in np.argsort(-entries.gains).tolist() if lines[i] == line][:NGRAM_SLOTS]
        expected = [
            (int(entries.tokens[i]) << 5 | int(class_of(entries.chances[i : i + 1])[0])) << check_bits
            | max(int(entries.hashes[i]) % 2**check_bits, 1)
            for i in order
        ]
        assert made[line].tolist() == expected


def test_documents_that_are_left_out(tmp_path: Path) -> None:
    """Each document is counted or left out; a corpus without one that would be left out gives all of them to learn from."""
    for n in range(60):
        (tmp_path / f"{n}.txt").write_bytes(TEXT[n * 100 : n * 100 + 400])
    corpus = find_corpus(str(tmp_path))
    out, counted = held_out.left_out(corpus), held_out.counted(corpus)
    assert len(out) + len(counted) == 60 and 0 < len(out) < 20
    assert len(held_out.left_out(counted)) == len(counted)
    both = together([out, counted])
    assert sorted(d.text for d in both.documents()) == sorted(d.text for d in corpus.documents())


def test_surprisal_of_each_token() -> None:
    network, ids = Network(small_model()), small_vocabulary().encode(TEXT[:3000])
    bits = token_bits(network, ids, 4)
    assert len(bits) == len(ids) // 4 * 4 and (bits > 0).all()
    assert surprisal_bits(network, ids, 4) == pytest.approx(bits.sum() * len(ids) / len(bits))
    alone = token_bits(network, ids[: len(ids) // 4], 1)
    assert np.array_equal(alone, bits[: len(alone)])


def test_its_file(tmp_path: Path) -> None:
    """Lines begin on multiples of 64 bytes; what is not as the page says is refused."""
    path = tmp_path / "ngrams.safetensors"
    saved = save_ngrams(small_ngrams().entries, 512, {"note": "n"}, path)
    data = path.read_bytes()
    assert (8 + int.from_bytes(data[:8], "little")) % 64 == 0
    assert hashlib.sha256(data).hexdigest() == saved.content_hash and saved.record == {"note": "n"}
    assert np.array_equal(load(data)["entries"], small_ngrams().entries)
    good = {"format": "nncomp-ngrams-1", "vocab_size": "512", "record": "{}"}
    lines = small_ngrams().entries
    assert len(parse_ngrams(save({"entries": lines}, good), "").entries) == len(lines)
    for wrong in (
        save({"entries": lines}, good | {"format": "nncomp-ngrams-2"}),
        save({"entries": lines}, good | {"vocab_size": "many"}),
        save({"entries": lines}, good | {"vocab_size": "0512"}),
        save({"entries": lines, "more": lines}, good),
        save({"entries": lines}, {"format": "nncomp-ngrams-1"}),
        save({"lines": lines}, good),
        save({"entries": lines.astype(np.int32)}, good),
        save({"entries": lines.reshape(-1)}, good),
        save({"entries": lines[:, :8].copy()}, good),
        save({"entries": lines[:0]}, good),
        data[:1000],
        b"",
    ):
        with pytest.raises(ModelError, match="n-gram table"):
            parse_ngrams(wrong, "")
    assert MAX_NGRAM_LINES * 64 == 1 << 28


def test_a_model_names_it(tmp_path: Path) -> None:
    """By its hash; the file is looked for beside the model and among what comes with nncomp."""
    model = with_ngrams(small_model(), tmp_path)
    save_model(model, tmp_path / "m.safetensors")
    data, table = (tmp_path / "m.safetensors").read_bytes(), (tmp_path / "ngrams.safetensors").read_bytes()
    read = parse_model(data, "m", by_hash(table))
    assert read.ngrams is not None and np.array_equal(read.ngrams.entries, small_ngrams().entries)
    with pytest.raises(ModelError, match="The n-gram table of the model m was not found, or is damaged: its SHA-256 is"):
        parse_model(data, "m", by_hash(data))
    file = open_model(tmp_path / "m.safetensors")
    assert file.ngrams is not None and file.size_bytes == len(data) + len(table)
    assert read_model(file).ngrams is not None
    (tmp_path / "shipped").mkdir()
    (tmp_path / "ngrams.safetensors").rename(tmp_path / "shipped" / "ngrams.safetensors")
    assert open_model(tmp_path / "m.safetensors").ngrams is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "models_folder", lambda: tmp_path / "shipped")
        assert open_model(tmp_path / "m.safetensors").ngrams is not None


def test_a_table_is_written_beside_a_model_where_no_reader_would_find_it(tmp_path: Path) -> None:
    """Several tables may be in a folder, and a link leads to its model's table. One that cannot be read is none."""
    model, there = with_ngrams(small_model(), tmp_path), tmp_path / "there"
    there.mkdir()
    (there / "ngrams.safetensors").write_bytes(b"another one")
    save_model(model, there / "m.safetensors")
    assert len(list(there.glob("ngrams-*.safetensors"))) == 1
    (there / "ngrams-loop.safetensors").symlink_to("ngrams-loop.safetensors")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "m.safetensors").symlink_to(there / "m.safetensors")
    for folder in (there, tmp_path / "link"):
        read = read_model(open_model(folder / "m.safetensors"))
        assert read.ngrams is not None and np.array_equal(read.ngrams.entries, small_ngrams().entries)
    save_model(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.glob("ngrams-*.safetensors"))


def test_tokens_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="for 1024 tokens, not for its own"):
        replace(small_model(), ngrams=small_ngrams()._replace(vocab_size=1024))


def test_that_of_a_second_network_is_not_needed(tmp_path: Path) -> None:
    model = two_networks()
    assert model.second is not None
    second = replace(model.second, ngrams=small_ngrams())
    save_model(second, tmp_path / "second.safetensors")
    named = (tmp_path / "second.safetensors").read_bytes()
    save_model(replace(model, second=second), tmp_path / "both.safetensors", None, named)
    read = parse_model((tmp_path / "both.safetensors").read_bytes(), "both", by_hash(named))
    assert read.networks == 2 and read.ngrams is None and read.second is not None and read.second.ngrams is None


def test_altered_files_are_read_or_refused(tmp_path: Path) -> None:
    with_ngrams(small_model(), tmp_path)
    data, random_ = (tmp_path / "ngrams.safetensors").read_bytes(), random.Random(5)
    head = 8 + int.from_bytes(data[:8], "little")
    for _ in range(300):
        altered = bytearray(data)
        altered[random_.randrange(head)] ^= 1 << random_.randrange(8)
        try:
            parse_ngrams(bytes(altered), "")
        except ModelError:
            continue


def test_start_values_are_learned_on_what_was_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = with_ngrams(small_model(), tmp_path), list[int]()
    for n in range(40):
        (tmp_path / f"{n}.txt").write_bytes(TEXT[n * 100 : n * 100 + 400])
    corpus = find_corpus(str(tmp_path / "*.txt"))

    def left_out(corpus: Corpus) -> Corpus:
        asked.append(len(corpus))
        return held_out.left_out(corpus)

    monkeypatch.setattr("nncomp.training.mixing_start.left_out", left_out)
    new = assembled(model, model.ngrams, None, corpus, 2000)
    assert asked == [40] and new.ngrams is model.ngrams
    assert not np.array_equal(new.extra["mixing.ngram_strength"], model.extra["mixing.ngram_strength"])


def test_the_command(tmp_path: Path) -> None:
    """It counts text in a folder with an index of documents, and writes a table that another command gives to a model."""
    save_model(small_model(), tmp_path / "m.safetensors")
    folder, size = tmp_path / "text", 500
    folder.mkdir()
    (folder / "a.txt").write_bytes(TEXT[: 50 * size])
    rows = "".join(f"a.txt\t{n * size}\t{size}\n" for n in range(50))
    (folder / "documents.tsv").write_text("file\toffset\tbytes\n" + rows)
    model, out, new = (str(tmp_path / name) for name in ("m.safetensors", "ngrams.safetensors", "new.safetensors"))
    for module, arguments in (
        ("count_ngrams", [model, out, str(folder), "--lines", "30"]),
        ("assemble", [model, new, str(folder), "--ngrams", out, "--mb", "0.01"]),
    ):
        command = [sys.executable, "-m", f"nncomp.training.{module}", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        assert result.returncode == 0, result.stderr
    for arguments in ([out, "--lines", "30"], [str(tmp_path / "no" / "n")], [str(tmp_path / "n"), "--lines", "0"]):
        command = [sys.executable, "-m", "nncomp.training.count_ngrams", model, arguments[0], str(folder), *arguments[1:]]
        result = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        assert result.returncode == 2 and "Traceback" not in result.stderr, "before anything is counted"
    read = read_model(open_model(new))
    assert read.ngrams is not None and read.ngrams.entries.shape == (30, NGRAM_SLOTS)
    record = read.ngrams.record
    assert record["entries"] == (read.ngrams.entries > 0).sum() > 20 and 30 < record["documents"] < 50
    assert record["bytes"] == record["documents"] * size and "count_ngrams" in record["command"]
