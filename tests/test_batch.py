"Folders of any size: which files are looked at, and tables that survive Ctrl-C, SIGTERM, SIGKILL and a full disk."
import csv, io, json, os, resource, shutil, signal, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bearclf import batch
from bearclf.batch import Inputs
from bearclf.drawn import sample_images
from bearclf.pictures import DataError, walk

COMMAND = [sys.executable, '-m', 'bearclf']
KINDS = ('csv', 'jsonl', 'parquet')

def bearclf(*args, **kwargs): return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, **kwargs)

@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    "Sixty pictures, and a file that is none."
    root = sample_images(tmp_path_factory.mktemp('batch')/'drawn', n=12)
    (root/'grizzly'/'notes.jpg').write_text('Bring the teddy.')
    return root

@pytest.fixture(scope='module')
def whole(drawn, tmp_path_factory):
    "The tables of runs that nothing disturbed: {kind: file}."
    folder = tmp_path_factory.mktemp('whole')
    for kind in KINDS: assert bearclf('predict', drawn, f'--{kind}', folder/f'bears.{kind}').returncode == 1
    return {kind: folder/f'bears.{kind}' for kind in KINDS}

def rows_in(table):
    "How many whole rows are on disk, in the table or in the file where those of a Parquet table gather."
    log = table.with_name(f'.{table.name}.rows.jsonl') if table.suffix == '.parquet' else table
    try: return log.read_bytes().count(b'\n') - (table.suffix == '.csv')
    except FileNotFoundError: return 0

def stop_after(rows, stop, drawn, table):
    "Start the command, and send it the signal `stop` when `rows` rows more have appeared: its exit code and complaints."
    p = subprocess.Popen([*COMMAND, 'predict', str(drawn), f'--{table.suffix[1:]}', str(table)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                         text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    goal = max(rows_in(table), 0) + rows
    while p.poll() is None and rows_in(table) < goal: time.sleep(.002)
    p.send_signal(stop)
    return p.communicate()[1], p.returncode

@pytest.mark.parametrize('kind, kills', [('csv', 50), ('jsonl', 3), ('parquet', 3)])
def test_kills_lose_and_double_no_row(drawn, whole, tmp_path, kind, kills):
    table, killed = tmp_path/f'bears.{kind}', 0
    for _ in range(kills):
        killed += stop_after(1, signal.SIGKILL, drawn, table)[1] == -signal.SIGKILL
    assert killed > kills/2 and (kind == 'parquet') != table.exists()
    r = bearclf('predict', drawn, f'--{kind}', table)
    assert r.returncode == 1 and 'not looked at again' in r.stderr
    assert table.read_bytes() == whole[kind].read_bytes()
    assert [f.name for f in tmp_path.iterdir()] == [table.name] # nothing is left beside it

@pytest.mark.parametrize('stop, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize('kind', KINDS)
def test_stopped_and_gone_on_with(drawn, whole, tmp_path, kind, stop, code):
    table = tmp_path/f'bears.{kind}'
    said, ended = stop_after(3, stop, drawn, table)
    assert ended == code and len(said.splitlines()) == 1 and 'the same command goes on' in said and (kind == 'parquet') == ('then writes' in said)
    assert 3 <= rows_in(table) < 61
    assert bearclf('predict', drawn, f'--{kind}', table).returncode == 1
    assert table.read_bytes() == whole[kind].read_bytes()

@pytest.mark.parametrize('kind', KINDS)
def test_only_what_changed_or_failed_is_looked_at_again(drawn, tmp_path, kind):
    pictures, table = tmp_path/'p', tmp_path/f'bears.{kind}'
    shutil.copytree(drawn/'grizzly', pictures)
    bearclf('predict', pictures, f'--{kind}', table)
    again = bearclf('predict', pictures, f'--{kind}', table)
    assert '12 had a row' in again.stderr and '1 row made anew' in again.stderr
    files = sorted(pictures.glob('grizzly*.jpg'))
    shutil.copy(next((drawn/'teddys').glob('*.jpg')), files[5])
    shutil.copy(files[0], pictures/'notes.jpg')
    files[7].unlink()
    again = bearclf('predict', pictures, f'--{kind}', table)
    assert again.returncode == 0 and '10 had a row' in again.stderr and '2 rows made anew' in again.stderr
    fresh = bearclf('predict', pictures, f'--{kind}', tmp_path/f'fresh.{kind}')
    assert fresh.returncode == 0
    assert rows_of(table)[1:] == rows_of(tmp_path/f'fresh.{kind}') # the picture that is gone keeps its row, first

def rows_of(table):
    if table.suffix == '.csv':
        with open(table, newline='', encoding='utf-8', errors='surrogateescape') as f: return [*csv.DictReader(f)]
    if table.suffix == '.jsonl': return [*map(json.loads, table.read_text().splitlines())]
    import pyarrow.parquet
    return pyarrow.parquet.read_table(table).to_pylist()

@pytest.mark.parametrize('kind', KINDS)
def test_a_full_disk_is_a_sentence(drawn, whole, tmp_path, kind):
    table = tmp_path/f'bears.{kind}'
    full = bearclf('predict', drawn, f'--{kind}', table, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)))
    assert full.returncode == 2 and 'can not be written' in full.stderr.splitlines()[-1] and 'Traceback' not in full.stderr
    assert 0 < rows_in(table) < 61
    assert bearclf('predict', drawn, f'--{kind}', table).returncode == 1
    assert table.read_bytes() == whole[kind].read_bytes()

def test_one_process_writes_a_table(drawn, tmp_path):
    table = tmp_path/'bears.csv'
    p = subprocess.Popen([*COMMAND, 'predict', str(drawn), '--csv', str(table)], stderr=subprocess.DEVNULL)
    while rows_in(table) < 1: assert p.poll() is None
    p.send_signal(signal.SIGSTOP)
    try: second = bearclf('predict', drawn, '--csv', table)
    finally: p.send_signal(signal.SIGCONT)
    assert second.returncode == 2 and 'Another bearclf' in second.stderr
    assert p.wait() == 1 and len(rows_of(table)) == 61

@pytest.mark.parametrize('kind', KINDS)
def test_names_of_all_kinds_come_back(drawn, tmp_path, kind):
    pictures, table = tmp_path/'p', tmp_path/f'bears.{kind}'
    pictures.mkdir()
    names = {'line\nbreak.jpg', 'return\r.jpg', 'quote",;.jpg', 'bär.jpg', '\x1b[2J.jpg', '=1+2.jpg', '-x.jpg', '\u3000＝1.jpg'}
    for name in (b'latin\xe9.jpg', *map(str.encode, names)):
        shutil.copy(next((drawn/'teddys').glob('*.jpg')), os.fsencode(pictures) + b'/' + name)
    first = bearclf('predict', pictures, f'--{kind}', table)
    before = table.read_bytes()
    again = bearclf('predict', pictures, f'--{kind}', table)
    assert (first.returncode, again.returncode) == (0, 0) and '9 had a row' in again.stderr and table.read_bytes() == before
    assert names < {os.path.basename(r['file']) for r in rows_of(table)}

def test_no_name_is_a_formula_to_a_spreadsheet(drawn, tmp_path):
    "As CSV injection goes: each cell still names its file, and the same command finds its rows."
    for name in ('=HYPERLINK("x").jpg', '+1.jpg', '-1.jpg', '@x.jpg', '＝1.jpg', ' =1.jpg', 'plain.jpg'):
        shutil.copy(next((drawn/'teddys').glob('*.jpg')), tmp_path/name)
    (tmp_path/'=no.jpg').write_text('no')
    assert bearclf('predict', '.', '--csv', 't.csv', cwd=tmp_path).returncode == 1
    before = (tmp_path/'t.csv').read_bytes()
    rows = list(csv.DictReader(io.StringIO(before.decode(), newline='')))
    assert len(rows) == 8 and all((tmp_path/r['file']).is_file() for r in rows)
    assert not [cell for r in rows for cell in (r['file'], r['error']) if cell.strip()[:1] in '=+-@＝' and cell]
    assert '7 had a row' in bearclf('predict', '.', '--csv', 't.csv', cwd=tmp_path).stderr and (tmp_path/'t.csv').read_bytes() == before

@pytest.mark.parametrize('kind', KINDS)
def test_what_is_no_table_of_ours_stays(drawn, tmp_path, kind):
    table = tmp_path/f'bears.{kind}'
    for content in (b'name,age\nAnn,9\n', b'{"file": 1}\n', b'\xff\xd8\xff\xe0' + b'"\n'*9, b'no line end', b'{}\n', b'{"file": "a"\n', b'[1]\n'):
        table.write_bytes(content)
        r = bearclf('predict', drawn/'teddys', f'--{kind}', table)
        assert r.returncode == 2 and len(r.stderr.splitlines()) == 1 and 'no table of bearclf' in r.stderr
        assert table.read_bytes() == content and [f.name for f in tmp_path.iterdir()] == [table.name]

def test_what_a_system_puts_into_a_folder_of_parts_is_no_stranger(drawn, tmp_path):
    out = f'{tmp_path/"parts"}/'
    for _ in range(2):
        assert bearclf('predict', drawn/'teddys', '--parquet', out).returncode == 0
        (tmp_path/'parts'/'.DS_Store').touch()
    (tmp_path/'parts'/'._part-00000.parquet').touch() # may be somebody's
    assert 'no table of bearclf' in bearclf('predict', drawn/'teddys', '--parquet', out).stderr

def test_a_table_by_another_model_or_thresholds_stays(drawn, whole, tmp_path):
    table = tmp_path/'bears.csv'
    shutil.copy(whole['csv'], table)
    r = bearclf('predict', drawn, '--csv', table, '--threshold', 'grizzly=0.2')
    assert r.returncode == 2 and 'other thresholds' in r.stderr and table.read_bytes() == whole['csv'].read_bytes()

def test_a_table_replaces_no_input(drawn, tmp_path):
    picture = tmp_path/'picture'
    shutil.copy(next((drawn/'teddys').glob('*.jpg')), picture)
    (tmp_path/'bears.csv').symlink_to(picture)
    for name in ('picture', 'bears.csv', 'new.jpg', 'new.HEIC', 'new.onnx'):
        r = bearclf('predict', drawn/'teddys', picture, '--csv', tmp_path/name)
        assert r.returncode == 2 and len(r.stderr.splitlines()) == 1, name
    assert sorted(f.name for f in tmp_path.iterdir()) == ['bears.csv', 'picture']
    assert picture.read_bytes() == next((drawn/'teddys').glob('*.jpg')).read_bytes()

def test_a_long_name(drawn, tmp_path):
    for kind in KINDS:
        table = tmp_path/('ё'*110 + f'.{kind}')
        assert bearclf('predict', drawn/'teddys', f'--{kind}', table).returncode == 0 and len(rows_of(table)) == 12

def test_links_count_once_and_hard_links_by_themselves(drawn, tmp_path):
    real = sample_images(tmp_path/'real', n=1)/'teddys'
    file = next(real.iterdir())
    (tmp_path/'album').mkdir()
    (tmp_path/'album'/'link.jpg').symlink_to(file)
    (tmp_path/'folder').symlink_to(real)
    os.link(file, tmp_path/'album'/'second.jpg')
    found = [f.name for f in Inputs([tmp_path/'album', tmp_path/'folder', real, file, real/'..'/'teddys'/file.name])]
    assert found == ['link.jpg', 'second.jpg']

def test_exclude(drawn):
    def found(*patterns): return {f.relative_to(drawn).as_posix() for f in Inputs([drawn], patterns)}
    everything = found()
    assert found('grizzly') == {f for f in everything if not f.startswith('grizzly/')}
    assert found('*-0001.jpg') == {f for f in everything if not f.endswith('-0001.jpg')}
    assert found('teddys/*-0000.jpg') == {f for f in everything if not (f.startswith('teddys/') and f.endswith('-0000.jpg'))}
    assert found('./grizzly') == found('grizzly/') == found(f'{drawn}/grizzly') == found(f'{drawn}/grizzly/') == found('grizzly')
    assert found(drawn.parent.name) == found('*/') == found(f'*{drawn.parent.name}') == everything # only what lies below
    with pytest.raises(DataError, match='leaves no picture'): found('*')

def test_what_is_left_out_is_not_passed_over(drawn, tmp_path):
    shutil.copytree(drawn/'teddys', tmp_path/'p')
    for folder in ('raws', 'sorted'):
        (tmp_path/'p'/folder).mkdir()
        (tmp_path/'p'/folder/'IMG_1.CR2').touch()
    for exclude, outside, n in (((), None, 2), (['raws'], None, 1), (['raws'], tmp_path/'p'/'sorted', 0)):
        assert len([*(inputs := Inputs([tmp_path/'p'], exclude, outside))]) > 0 and inputs.passed['RAW file'] == n

def test_a_list_of_no_files():
    with pytest.raises(DataError, match='list of files is empty'): [*Inputs([])]

def test_an_address_under_another_name_of_its_store(drawn):
    address = f'local://{drawn}'
    assert len([*Inputs([address])]) == len([*Inputs([drawn])])
    assert [*Inputs([f'{address}/gone.jpg'], ['x'])] == [f'file://{drawn}/gone.jpg']
    for pattern in (f'file://{drawn}/grizzly', f'file://{drawn}/grizzly/', 'grizzly/'): assert len([*Inputs([address], [pattern])]) < len([*Inputs([drawn])])
    assert {*Inputs([address], ['grizzly'])} == {f for f in Inputs([address]) if '/grizzly/' not in f}

def test_links_that_lead_nowhere_end_nothing(tmp_path, drawn):
    (tmp_path/'loop.jpg').symlink_to('loop.jpg')
    (tmp_path/'a.jpg').symlink_to(next(drawn.glob('teddys/*.jpg')))
    assert [f.name for f in Inputs([tmp_path])] == ['a.jpg', 'loop.jpg']
    assert bearclf('predict', tmp_path).returncode == 1

def test_what_lies_in_the_folder_to_sort_into(drawn):
    with pytest.raises(DataError, match='give another one to --sort'): [*Inputs([drawn], outside=drawn)]
    with pytest.raises(DataError, match='sorted already'): [*Inputs([drawn], exclude=['[!t]*'], outside=drawn/'teddys')]

def test_a_time_that_no_calendar_has(drawn, monkeypatch):
    monkeypatch.setattr(batch.os, 'stat', lambda f: SimpleNamespace(st_size=5, st_mtime_ns=10**22))
    assert batch.file_state('a.jpg') == dict(bytes=5, modified=None)

def test_a_folder_that_can_not_be_read_among_others(drawn, monkeypatch):
    def closed(folder, closed):
        if folder == 'locked': raise DataError('The folder locked can not be read.')
        return walk(folder, closed=closed)
    isdir = os.path.isdir
    monkeypatch.setattr(batch.os.path, 'isdir', lambda f: str(f) == 'locked' or isdir(f))
    monkeypatch.setattr(batch, 'walk', closed)
    first = next(f for f in Inputs([drawn]))
    assert [*Inputs([first, 'locked', drawn/'teddys'])][:2] == [first, Path('locked')]
