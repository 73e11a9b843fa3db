"The drawn set: never over other files, by many processes at once, the same everywhere."
import os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bearclf import data, drawn, sources
from bearclf.data import read_labels
from bearclf.pictures import DataError, picture_files
from helpers import ODD, one_sentence

def test_sample_images_never_overwrites(tmp_path):
    dest = drawn.sample_images(tmp_path/'deep'/ODD, n=2)
    was = {f: f.stat().st_mtime_ns for f in dest.rglob('*')}
    drawn.sample_images(dest, n=2)
    assert {f: f.stat().st_mtime_ns for f in dest.rglob('*')} == was
    for kw in (dict(n=3), dict(n=1), dict(n=2, seed=1)):
        with pytest.raises(DataError, match='other files') as e: drawn.sample_images(dest, **kw)
        one_sentence(e, ODD)
    assert {f: f.stat().st_mtime_ns for f in dest.rglob('*')} == was
    assert [p.name for p in dest.parent.iterdir()] == [ODD]
    (tmp_path/'file').write_text('mine')
    with pytest.raises(DataError): drawn.sample_images(tmp_path/'file')
    with pytest.raises(DataError, match='can not be written'): drawn.sample_images(tmp_path/'file'/'below')
    with pytest.raises(DataError): drawn.sample_images(tmp_path/'none', n=0)
    with pytest.raises(DataError, match='part of this set'):
        next(dest.rglob('*.jpg')).unlink()
        drawn.sample_images(dest, n=2)
    (tmp_path/'empty').mkdir()
    assert data.data_hash(read_labels(drawn.sample_images(tmp_path/'empty', n=1)))

def test_same_seed_same_set_in_another_process(tmp_path):
    code = f'from bearclf.data import *; from bearclf.drawn import sample_images; print(data_hash(read_labels(sample_images({str(tmp_path/"b")!r}, n=2, seed=9))))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env={**os.environ, 'PYTHONHASHSEED': '5'})
    assert done.stdout.strip() == data.data_hash(read_labels(drawn.sample_images(tmp_path/'a', n=2, seed=9)))

def test_many_processes_draw_at_once(fresh):
    code = 'from bearclf.data import *; from bearclf.pictures import picture_files; print(images_path(), data_hash(read_labels(images_path())), len(picture_files(companion_path("pool/general"))))'
    runs = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    out = {p.communicate()[0] for p in runs}
    assert all(p.returncode == 0 for p in runs) and len(out) == 1
    assert [p.name for p in fresh.iterdir() if p.name.startswith(('bearclf', '.bearclf'))] == [Path(out.pop().split()[0]).parent.name]

def test_a_half_cleaned_set_is_made_anew(fresh):
    with ThreadPoolExecutor(2) as ex: [path] = set(ex.map(lambda _: data.images_path(), range(2)))
    was = data.data_hash(read_labels(path))
    for f in picture_files(path)[::3]: f.unlink()
    assert data.data_hash(read_labels(data.images_path())) == was
    (path/'labels.csv').unlink()
    assert data.data_hash(read_labels(data.images_path())) == was
    assert len(picture_files(data.companion_path('probes'))) == 4
    with pytest.raises(DataError, match='no folder pool/panda'): data.companion_path('pool/panda')

def test_where_the_pictures_are(fresh, monkeypatch):
    work = fresh/'work'
    (work/'nbs').mkdir()
    (work/'images').mkdir()
    (work/'probes').mkdir()
    assert data.images_path() == Path('images') and data.companion_path('probes') == work/'probes'
    monkeypatch.chdir(work/'nbs')
    assert data.images_path().resolve() == work/'images' and data.companion_path('probes').resolve() == work/'probes'
    monkeypatch.setenv('BEARCLF_DATA', str(fresh/'none'))
    with pytest.raises(DataError, match='BEARCLF_DATA') as e: data.images_path()
    one_sentence(e, 'none')

def test_drawn_is_a_source(tmp_path):
    source = sources.Drawn(3)
    records = list(source.search('grizzly;teddys', 3))
    assert len({r.id for r in records}) == 3 and all(r.source == source.name and r.licence for r in records)
    files = [source.fetch(r, tmp_path) for r in records]
    assert sorted(files) == picture_files(tmp_path) and len(list(tmp_path.iterdir())) == 3
    assert len({f.read_bytes() for f in files}) == 3
