"""Scores on Ray: the same rows as one process, whatever dies, and a job that continues."""

import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import run
from extras import library

from streamlstm import Config, StreamPredictor, decompress, score, score_by

library("ray")
import psutil  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from streamlstm.integrations.batches import Compress, Score  # noqa: E402
from streamlstm.integrations.ray import score_job as pieces_module  # noqa: E402
from streamlstm.integrations.ray.score_job import Columns, ScoreJob, ScoreOptions, matching_files, pieces_of, records_of  # noqa: E402  # noqa: E402
from streamlstm.integrations.ray.storage import Storage  # noqa: E402

SHAPE = ["--hidden", "16", "--layers", "1"]
TEXTS = ["one two\n\nthree é\n", "", "job 1 done\njob 2 done", "\udce9nd"]


def predictor():
    return StreamPredictor(config=Config(hidden=16, layers=1))


def data(texts=TEXTS):
    return [text.encode("utf-8", "surrogateescape") for text in texts]


def write_jsonl(path, texts, field="text"):
    path.write_text("".join(json.dumps({field: text, "n": n}) + "\n" for n, text in enumerate(texts)))
    return str(path)


# Batches


@pytest.mark.parametrize("detail", [None, "word", "line"])
def test_each_record_of_a_batch_is_scored_by_itself(detail):
    model = predictor()
    batch = {"id": [0, 1, 2, 3], "text": data()}
    whole = Score(predictor=model, detail=detail)(batch)
    single = [Score(predictor=model, detail=detail)({"text": [text]}) for text in data()]
    assert whole["id"] == batch["id"]
    for name in {"bits", "bits_per_byte", *(f"{detail}{end}" for end in ("s", "_bits") if detail)}:
        assert list(whole[name]) == [each[name][0] for each in single]
    for bits, per_byte, text in zip(whole["bits"], whole["bits_per_byte"], data(), strict=True):
        assert bits == pytest.approx(score(model.fork(), text).bits, abs=1e-9)
        assert per_byte == (bits / len(text) if text else 0)
    if detail:
        units = score_by(model.fork(), data()[0], detail)
        expected = [(text, bits) for scores in units for text, bits in zip(scores.texts, scores.bits, strict=True)]
        assert list(zip(whole[f"{detail}s"][0], whole[f"{detail}_bits"][0], strict=True)) == expected


def test_a_record_without_a_text_has_no_score():
    batch = Score(predictor=predictor())({"text": ["a", None]})
    assert (batch["bits"], batch["bits_per_byte"]) == ([8.0, None], [8.0, None])
    assert Compress(predictor=predictor())({"text": [None]})["compressed"].tolist() == [None]


def test_a_compressed_record_is_restored():
    model = predictor()
    compressed = Compress(predictor=model)({"text": np.array(data(), dtype=object)})["compressed"]
    assert [decompress(each, model) for each in compressed] == data()


def test_wrong_columns_and_models_are_refused():
    with pytest.raises(ValueError, match=r"no column 'body'; the columns are 'text'"):
        Score("body", predictor())({"text": ["a"]})
    with pytest.raises(ValueError, match=r"must have texts, not 3 \(row 1"):
        Score(predictor=predictor())({"text": ["a", 3]})
    with pytest.raises(ValueError, match="detail must be one of word, line"):
        Score(detail="symbol")
    from streamlstm import Vocabulary

    with pytest.raises(ValueError, match="read by a model of bytes"):
        Score(predictor=StreamPredictor(Vocabulary.from_text("ab"), Config(hidden=16, layers=1)))


# Pieces


def test_an_escape_of_a_lone_surrogate_in_a_record_is_not_a_character(tmp_path):
    (tmp_path / "a.jsonl").write_text(r'{"id": "\ud800", "text": "cut \ud83d"}')
    [piece] = pieces_of([str(tmp_path / "a.jsonl")], "text")
    [record] = records_of(piece, Columns(id="id"))
    assert (record.id, *record.parts) == ("\ufffd", "cut \ufffd")


@pytest.mark.parametrize("piece_bytes", [1, 7, 40, 10**6])
def test_pieces_have_each_record_once(piece_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces_module, "PIECE_BYTES", piece_bytes)
    texts = [f"text {n} " * (n % 5) for n in range(25)]
    lines = write_jsonl(tmp_path / "a.jsonl", texts)
    table = str(tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": texts, "n": range(25)}), table, row_group_size=10)
    for path in (lines, table):
        for id_column in (None, "n"):
            columns = Columns("text", id_column)
            found = [record for piece in pieces_of([path], "text") for record in records_of(piece, columns)]
            assert ["".join(record.parts) for record in found] == texts
            ids = [record.id for record in found]
            assert len(set(ids)) == 25
            assert ids == [str(n) for n in range(25)] or (id_column is None and ids[0] == f"{path}:0")


def test_patterns_name_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.txt", "a.txt", "c.log"):
        (tmp_path / name).write_text(name)
    assert matching_files(["*.txt", "c.log"]) == ["a.txt", "b.txt", "c.log"]
    assert matching_files([f"file://{tmp_path}/*.txt"]) == [f"file://{tmp_path}/{name}.txt" for name in "ab"]
    with pytest.raises(FileNotFoundError, match="none"):
        matching_files(["none*"])
    with pytest.raises(IsADirectoryError, match="is a directory; name files"):
        pieces_of([str(tmp_path)], "text")


WRONG_RECORDS = {
    "{": "a.jsonl:3: the line that begins at this byte is not valid JSON",
    "[1]": "a.jsonl:3: the line that begins at this byte is not a JSON object",
    '{"a": 1}': "a.jsonl:3: the record has no field 'text'; its fields are a",
    '{"text": 1}': "a.jsonl:3: the text of the record is not a text, but 1",
}


@pytest.mark.parametrize(("line", "message"), WRONG_RECORDS.items())
def test_a_wrong_record_is_named(line, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text(f" \n\n{line}\n")
    with pytest.raises(ValueError, match=message):
        [list(records_of(piece, Columns())) for piece in pieces_of(["a.jsonl"], "text")]


def test_a_table_without_the_column_is_refused(tmp_path):
    table = str(tmp_path / "b.parquet")
    pq.write_table(pa.table({"body": ["a"]}), table)
    with pytest.raises(ValueError, match=r"b.parquet has no column 'text'; its columns are 'body'"):
        pieces_of([table], "text")
    (tmp_path / "b.parquet").write_text("no table")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        pieces_of([table], "text")


# Jobs


def begin(folder, names, options=None, resume=False, model=None):
    options = options or ScoreOptions()
    model = model or predictor()
    return ScoreJob.begin(Storage(folder), options, pieces_of(names, options.columns.text), model, resume)


def finish(job):
    for index in job.unfinished():
        job.score(index, job.predictor())
    return pq.read_table(job.storage.location.removeprefix("file://")).to_pylist()


@pytest.fixture
def files(tmp_path):
    """Two text files and one of records, and what `score` says of the text files."""
    (tmp_path / "a.txt").write_bytes(b"".join(data()))
    (tmp_path / "b.txt").write_bytes(b"line %d\n" * 300 % (*range(300),))
    write_jsonl(tmp_path / "c.jsonl", [text for text in TEXTS if text.isascii()])
    return [str(tmp_path / name) for name in ("a.txt", "b.txt", "c.jsonl")]


def rows_of_score(*arguments):
    """The rows of the command `score` in one process."""
    table = run("score", *arguments, "--format", "tsv", *SHAPE).stdout.decode()
    return list(csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_rows_of_lines_are_those_of_the_command_score(files, tmp_path):
    rows = finish(begin(tmp_path / "out", files))
    expected = rows_of_score(*files[:2], "--by", "line")
    found = [(row["id"], row["line"], row["offset"], row["bits"]) for row in rows if "jsonl" not in row["id"]]
    assert found == [(row["file"], int(row["line"]), int(row["offset"]), float(row["bits"])) for row in expected]
    assert all(row["bits_per_byte"] == row["bits"] / row["bytes"] for row in rows)
    assert [row["line"] for row in rows if "jsonl" in row["id"]] == [1, 2]  # of an empty record there is no line


def test_the_rows_of_files_are_those_of_the_command_score(files, tmp_path):
    rows = finish(begin(tmp_path / "out", files, ScoreOptions("file", "word")))
    expected = rows_of_score(*files[:2])
    assert [row["id"] for row in rows[:2]] == [row["file"] for row in expected]
    assert [row["bytes"] for row in rows[:2]] == [int(row["symbols"]) for row in expected]
    for row, theirs in zip(rows[:2], expected, strict=True):
        assert row["bits"] == pytest.approx(float(theirs["bits"]), abs=1e-9)
    assert rows[0]["words"][:3] == ["one", "two", "three"]
    assert all(sum(row["word_bits"]) == pytest.approx(row["bits"], abs=1e-9) for row in rows)


def test_a_job_continues_only_as_it_began(files, tmp_path):
    job = begin(tmp_path / "out", files)
    job.score(0, job.predictor())
    with pytest.raises(FileExistsError, match="is not empty; name another folder, or continue the job there"):
        begin(tmp_path / "out", files)
    assert begin(tmp_path / "out", files, resume=True).unfinished() == [1, 2]
    with pytest.raises(ValueError, match="cannot be continued: its by is 'line', not 'file'"):
        begin(tmp_path / "out", files, ScoreOptions("file"), resume=True)
    with pytest.raises(ValueError, match="cannot be continued: its model is another one"):
        begin(tmp_path / "out", files, resume=True, model=StreamPredictor(config=Config(hidden=16, layers=1), seed=1))
    (tmp_path / "a.txt").write_text("longer than before " * 9)
    with pytest.raises(ValueError, match="the files or their sizes have changed"):
        begin(tmp_path / "out", files, resume=True)


def replaced(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new))


def rewritten(path, change):
    rows = pq.read_table(path).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows), path, compression="none")


CHANGES = {
    "a.txt": [
        lambda path: replaced(path, b"two", b"TWO"),
        lambda path: replaced(path, b"job 2 done", b"job 2 dona"),
        lambda path: replaced(path, b"one two\n\n", b"one \ntwo\n"),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
    ],
    "c.jsonl": [
        lambda path: replaced(path, b'"text": "job 1', b'"text": "job 2'),
        lambda path: replaced(path, b'"n": 1', b'"n": 7'),
        lambda path: replaced(path, b"{", b"["),
        lambda path: replaced(path, b'"text"', b'"tixt"'),
    ],
    "d.parquet": [
        lambda path: rewritten(path, lambda rows: rows[3].update(text="text X")),
        lambda path: rewritten(path, lambda rows: rows[3].update(n=9)),
        lambda path: rewritten(path, lambda rows: rows.reverse()),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
    ],
}
"""Ways to change a file of a job that leave its size as it is."""


@pytest.fixture
def changeable(files, tmp_path):
    table = pa.table({"text": [f"text {n}" for n in range(8)], "n": range(8)})
    pq.write_table(table, tmp_path / "d.parquet", compression="none")
    return [files[0], files[2], str(tmp_path / "d.parquet")]


@pytest.mark.parametrize(("name", "number"), [(name, n) for name in CHANGES for n in range(len(CHANGES[name]))])
def test_a_job_does_not_continue_with_a_file_whose_content_has_changed(name, number, changeable, tmp_path):
    options = ScoreOptions("file", columns=Columns(id="n"))
    job = begin(tmp_path / "out", changeable, options)
    done = [Path(path).name for path in changeable].index(name)
    job.score(done, job.predictor())
    assert len(begin(tmp_path / "out", changeable, options, resume=True).unfinished()) == 2
    path = tmp_path / name
    content, size = path.read_bytes(), path.stat().st_size
    CHANGES[name][number](path)
    assert path.read_bytes() != content
    assert path.stat().st_size == size
    with pytest.raises(ValueError, match=rf"cannot be continued: .*{name}.* has changed|{name} is not a Parquet file"):
        begin(tmp_path / "out", changeable, options, resume=True)
    path.write_bytes(content)
    assert len(begin(tmp_path / "out", changeable, options, resume=True).unfinished()) == 2


def test_what_has_not_been_scored_may_change_as_long_as_it_keeps_its_size(changeable, tmp_path):
    begin(tmp_path / "out", changeable)
    replaced(tmp_path / "a.txt", b"two", b"TWO")
    rows = finish(begin(tmp_path / "out", changeable, resume=True))
    assert rows == finish(begin(tmp_path / "other", changeable))


def test_a_job_of_1_0_whose_scores_say_nothing_of_the_content_continues(changeable, tmp_path):
    job = begin(tmp_path / "out", changeable)
    job.score(0, job.predictor())
    part = tmp_path / "out" / "part-00000.parquet"
    pq.write_table(pq.read_table(part), part)
    assert begin(tmp_path / "out", changeable, resume=True).unfinished() == [1, 2]


def test_a_damaged_file_of_scores_is_named(changeable, tmp_path):
    job = begin(tmp_path / "out", changeable)
    job.score(0, job.predictor())
    part = tmp_path / "out" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"part-00000.parquet is damaged; remove it, and --resume scores it again"):
        begin(tmp_path / "out", changeable, resume=True)


NOT_UTF8 = "b\udcffd"


@pytest.mark.parametrize("place", ["file", "pattern", "out"])
@pytest.mark.parametrize("end", [".txt", ".jsonl"])
def test_a_name_that_is_not_utf8_is_refused_before_anything_is_written(place, end, tmp_path):
    good, bad = tmp_path / f"a{end}", tmp_path / f"{NOT_UTF8}{end}"
    for path in (good, bad):
        path.write_text('{"text": "x"}\n')
    out = NOT_UTF8 if place == "out" else "out"
    names = [good.name] if place == "out" else [good.name, bad.name] if place == "file" else [f"*{end}"]
    arguments = ["--engine", "ray", "--workers", "1", "--out", out, *SHAPE, "--", *names]
    result = run("score", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    [line] = result.stderr.decode("utf-8", "surrogateescape").splitlines()
    assert "is not in UTF-8" in line
    assert "b\\xffd" in line
    assert sorted(os.listdir(tmp_path)) == sorted([good.name, bad.name])
    names = ["."] if place == "pattern" else names
    result = run("watch", "--engine", "ray", "--format", "jsonl", "--out", out, *SHAPE, "--", *names, cwd=tmp_path)
    assert result.returncode == 1
    assert b"is not in UTF-8" in result.stderr
    assert sorted(os.listdir(tmp_path)) == sorted([good.name, bad.name])


@pytest.mark.parametrize("command", ["score", "watch"])
def test_so_is_any_other_argument_that_is_not_utf8_since_ray_takes_all_of_them(command, files, tmp_path):
    model = tmp_path / NOT_UTF8
    predictor().save(model)
    arguments = [command, "--engine", "ray", "--out", "out", "--model", str(model), files[0]]
    arguments += ["--format", "jsonl"] if command == "watch" else []
    program = [sys.executable, "-m", "streamlstm", *arguments]
    result = subprocess.run(program, cwd=tmp_path, capture_output=True, timeout=300)
    assert (result.returncode, (tmp_path / "out").exists()) == (1, False)
    assert b"b\\xffd: the name is not in UTF-8" in result.stderr


def test_a_job_that_was_killed_while_it_began_is_begun_again(files, tmp_path, monkeypatch):
    write = Storage.write
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "write", lambda self, name, content: name == "_job.json" or write(self, name, content))
        begin(tmp_path / "out", files)
    assert os.listdir(tmp_path / "out") == ["_model.safetensors"]
    with pytest.raises(FileExistsError, match="is not empty"):
        begin(tmp_path / "out", files)
    assert begin(tmp_path / "out", files, resume=True).unfinished() == [0, 1, 2]


def test_a_piece_that_fails_leaves_no_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n{"text": 1}\n')
    job = begin(tmp_path / "out", [str(path)])
    with pytest.raises(ValueError, match="is not a text"):
        job.score(0, job.predictor())
    assert sorted(os.listdir(tmp_path / "out")) == ["_job.json", "_model.safetensors"]


def test_options_without_an_engine_and_wrong_ones_are_refused(tmp_path):
    wrong = {
        ("--workers", "2"): "--workers is for an engine; add --engine ray",
        ("--engine", "spark"): "--engine must be ray, not 'spark'",
        ("--engine", "ray"): "--engine ray writes a folder of Parquet files; name it with --out DIR",
        ("--engine", "ray", "--out", "x", "--workers", "0"): "--workers must be at least 1, not 0",
        (
            "--engine",
            "ray",
            "--out",
            "x",
            "--unit",
            "nats",
        ): "--engine ray writes bits to Parquet files; use",
        ("--engine", "ray", "--out", "x", "-"): "--engine ray reads files, not stdin; name them",
        ("--engine", "ray", "--out", "x", "--by", "word"): "--by must be one of line, file, not 'word'",
        ("--engine", "ray", "--out", "x", "--by", "line", "--detail", "word"): "detail gives lists for each file",
    }
    for arguments, message in wrong.items():
        result = run("score", "x.txt", *arguments, *SHAPE, cwd=tmp_path)
        assert (result.returncode, os.listdir(tmp_path)) == (1, [])
        assert result.stderr.decode().startswith(f"streamlstm: {message}")


# On Ray


def start_job(folder, files, *more, workers=2):
    arguments = ["--engine", "ray", "--workers", str(workers), "--out", str(folder), "--by", "line", *SHAPE]
    command = [sys.executable, "-m", "streamlstm", "score", *arguments, *files, *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")


def hash_of(folder):
    """The content of the files of a job, in their order."""
    return b"".join((folder / name).read_bytes() for name in sorted(os.listdir(folder)) if name.startswith("part-"))


def test_the_command_scores_on_ray(files, tmp_path):
    with start_job(tmp_path / "out", files) as job:
        _, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    assert errors.splitlines()[-1] == f"2,696 bytes in 3 pieces: file://{tmp_path}/out"  # before it Ray may warn
    one_process = begin(tmp_path / "one", files)
    finish(one_process)
    assert hash_of(tmp_path / "out") == hash_of(tmp_path / "one")


def actors_of(process):
    """The processes of the actors that score."""
    found = []
    for each in psutil.Process(process.pid).children(recursive=True):
        try:
            if "PieceScorer" in " ".join(each.cmdline()):
                found.append(each)
        except psutil.Error:
            continue
    return found


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing has happened"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_job_survives_kill_9_of_actors_and_drivers(tmp_path):
    texts = [f"request {n} took {n * n % 977} ms on host {n % 13}\n" * 40 for n in range(480)]
    files = [write_jsonl(tmp_path / f"{name}.jsonl", texts[index::3]) for index, name in enumerate("abc")]
    folder, one = tmp_path / "out", begin(tmp_path / "one", files)
    assert len(one.pieces) >= 3
    finish(one)
    chance, n_killed, n_drivers = random.Random(1), 0, 0
    while True:
        with start_job(folder, files, *(["--resume"] if folder.exists() else []), workers=3) as job:
            kill_driver = n_drivers < 1
            deadline = time.monotonic() + chance.uniform(0.5, 3)
            wait_for(lambda: actors_of(job) or job.poll() is not None)
            for actor in actors_of(job)[:2]:
                if n_killed < 4:
                    time.sleep(chance.random())
                    actor.kill()
                    n_killed += 1
            while kill_driver and job.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if kill_driver and job.poll() is None:
                children = psutil.Process(job.pid).children(recursive=True)
                job.kill()
                n_drivers += 1
                psutil.wait_procs(children, timeout=60)
            elif job.wait(600) == 0:
                break
            else:
                raise AssertionError(job.stderr.read())
    assert n_killed >= 2
    assert hash_of(folder) == hash_of(tmp_path / "one")


@pytest.mark.slow
def test_a_job_is_resumed_on_one_cpu(files, tmp_path):
    """Loading checkpoints of Ray Data itself can hang on a cluster with few CPUs; they are not used."""
    one = begin(tmp_path / "one", files)
    finish(one)
    begin(tmp_path / "out", files)
    shutil.copy(tmp_path / "one" / "part-00001.parquet", tmp_path / "out")
    with start_job(tmp_path / "out", files, "--resume", workers=1) as job:
        assert job.wait(600) == 0
    assert hash_of(tmp_path / "out") == hash_of(tmp_path / "one")


@pytest.mark.slow
def test_a_signal_ends_the_command_and_the_job_continues(files, tmp_path):
    with start_job(tmp_path / "out", files) as job:
        wait_for(lambda: (tmp_path / "out").exists())
        time.sleep(3)
        job.send_signal(signal.SIGINT)
        assert job.wait(120) in (130, 0)
    with start_job(tmp_path / "out", files, "--resume") as job:
        assert job.wait(300) == 0
    assert pq.read_table(tmp_path / "out").num_rows > 300
