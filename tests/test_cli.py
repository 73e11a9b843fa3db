"The `bearclf` command, as a shell runs it: exit codes, what goes where, bad folders before any work, Ctrl-C."
import csv, fcntl, json, os, pty, re, shlex, shutil, signal, struct, subprocess, sys, termios
from pathlib import Path

import pytest

from bearclf.cli import main
from bearclf.data import read_labels
from bearclf.drawn import sample_images
from bearclf.inference import Classifier
from bearclf.wasm import for_browsers
from helpers import COMMAND, PATIENCE

def bearclf(*args, **kwargs):
    return subprocess.run([COMMAND, *map(str, args)], capture_output=True, text=True, **kwargs)

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return sample_images(tmp_path_factory.mktemp('cli')/'drawn pictures ü', n=6)

def complaint(r, code=2):
    "The one sentence of a command that failed with exit code `code`."
    assert r.returncode == code and r.stdout == '' and 'Traceback' not in r.stderr
    lines = r.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]

@pytest.mark.parametrize('command', ['predict', 'train', 'download', 'credits', 'verify', 'sample', 'info'])
def test_help_has_an_example(command):
    r = bearclf(command, '--help')
    assert r.returncode == 0 and f'example:\n  bearclf {command}' in r.stdout

def test_help_needs_nothing_heavy():
    code = "import sys; from bearclf.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint([m for m in ('torch', 'fastai', 'onnxruntime', 'pandas', 'numpy', 'requests') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip().endswith('[]')

def test_predict_gives_a_line_a_picture(drawn):
    files = [p.file for p in read_labels(drawn)]
    r = bearclf('predict', drawn)
    lines = [line.split('\t') for line in r.stdout.splitlines()]
    assert r.returncode == 0 and r.stderr.startswith(f'{len(files)} pictures: ') and r.stderr.count('\n') == 1
    assert bearclf('predict', drawn, '--quiet').stderr == ''
    assert sorted(Path(f) for f,_ in lines) == sorted(files)
    said = Classifier().predict(files[0])
    found = ', '.join(f'{said.name_of(k)} {said.probs[k]:.2f}' for k in said.labels)
    assert dict(lines)[str(files[0])] in (found, f'none ({found})', 'none')

def test_predict_json_and_csv_say_the_same(drawn, tmp_path):
    bad, table = tmp_path/'note.jpg', tmp_path/'out.csv'
    bad.write_text('not a picture')
    args = [drawn/'teddys', bad, tmp_path/'gone.png']
    r = bearclf('predict', *args, '--json')
    said = [json.loads(line) for line in r.stdout.splitlines()]
    assert r.returncode == 1 and len(said) == 8 and ['error' in s for s in said] == [False]*6 + [True]*2
    r = bearclf('predict', *args, '--csv', table)
    assert r.returncode == 1 and r.stdout == ''
    with open(table, newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    assert [(row['file'], row['error']) for row in rows] == [(s['file'], s.get('error', '')) for s in said]
    for row, s in zip(rows[:6], said):
        assert row['labels'].split(';') == (s['labels'] or [''])
        assert {k: pytest.approx(float(row[k]), abs=1e-5) for k in s['probs']} == s['probs']

def test_an_unreadable_picture_is_said_and_the_rest_answered(drawn, tmp_path):
    (tmp_path/'empty.jpg').touch()
    shutil.copy(next((drawn/'grizzly').iterdir()), tmp_path)
    r = bearclf('predict', tmp_path)
    assert r.returncode == 1 and len(r.stdout.splitlines()) == 1 and 'empty.jpg' in r.stderr and 'Traceback' not in r.stderr

def test_a_table_that_cannot_be_written(drawn, tmp_path):
    assert 'nowhere' in complaint(bearclf('predict', drawn, '--csv', tmp_path/'nowhere'/'out.csv'))

def test_predict_into_a_closed_pipe(drawn):
    r = subprocess.run(f'"{COMMAND}" predict "{drawn}" | head -n 1', shell=True, capture_output=True, text=True)
    assert r.stdout.count('\n') == 1 and r.stderr == ''

def test_complaints(tmp_path):
    (tmp_path/'model.onnx').write_text('not a model')
    (tmp_path/'empty').mkdir()
    assert 'model.onnx' in complaint(bearclf('info', tmp_path/'model.onnx'))
    assert 'gone.onnx' in complaint(bearclf('predict', tmp_path, '--model', tmp_path/'gone.onnx'))
    assert 'no pictures' in complaint(bearclf('predict', tmp_path/'empty')).lower()
    assert 'gone' in complaint(bearclf('verify', tmp_path/'gone'))
    assert bearclf('predict').returncode == 2 and bearclf('no-such-command').returncode == 2

def test_train_complains_before_any_work(drawn, tmp_path):
    work = tmp_path/'work'
    work.mkdir()
    (work/'torch.py').write_text('raise SystemExit("work has begun")')
    def train(folder, *args):
        said = complaint(bearclf('train', folder, *args, cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(work)}))
        assert not list(tmp_path.glob('*.onnx'))
        return said
    assert 'no pictures' in train(work).lower()
    one = tmp_path/'one'
    shutil.copytree(drawn/'teddys', one/'teddys')
    assert 'at least two' in train(one)
    (one/'grizzly').mkdir()
    shutil.copy(next((drawn/'grizzly').iterdir()), one/'grizzly')
    assert 'grizzly' in train(one) and 'only one' in train(one)
    broken = tmp_path/'broken'
    shutil.copytree(drawn, broken)
    (broken/'teddys'/'cut.jpg').write_bytes(b'\xff\xd8\xff\xe0cut short')
    assert 'cut.jpg' in train(broken)
    assert 'several labels' in train(drawn, '--single') or 'single' in train(drawn, '--single')
    assert '--epochs' in train(drawn, '--epochs', '0')
    assert '--folds' in train(drawn, '--folds', '1')
    assert '--tuning' in train(drawn, '--tuning', '-1')
    taken = tmp_path/'taken.txt'
    taken.touch()
    assert 'exists' in train(drawn, '--out', taken)

def test_verify_sample_info(tmp_path):
    r = bearclf('sample', tmp_path/'drawn')
    assert r.returncode == 0 and Path(r.stdout.strip()) == tmp_path/'drawn'
    (tmp_path/'drawn'/'teddys'/'note.jpg').write_text('not a picture')
    r = bearclf('verify', tmp_path/'drawn')
    assert r.returncode == 1 and 'note.jpg' in r.stdout
    assert [f.name for f in tmp_path.rglob('note.jpg')] == ['note.jpg'] and not (tmp_path/'drawn'/'teddys'/'note.jpg').exists()
    card = json.loads(bearclf('info').stdout)
    assert card['labels'] == ['black_bear', 'grizzly', 'other', 'other_bear', 'teddys'] and card['multi_label'] is True

def used(root, out):
    "The card of `out`, trained on `root`, which answers."
    assert bearclf('predict', root, '--model', out).returncode == 0
    assert [f.name for f in out.parent.iterdir() if f != root] == [out.name]
    card = json.loads(bearclf('info', out).stdout)
    assert card['scores'] and card['command'].startswith('bearclf train')
    return card

def test_train_and_use(drawn, tmp_path):
    r = bearclf('train', drawn, '--out', tmp_path/'mine.onnx')
    assert r.returncode == 0, r.stderr
    assert 'exact match' in r.stdout and used(drawn, tmp_path/'mine.onnx')['multi_label'] is True
    assert for_browsers(Classifier(tmp_path/'mine.onnx')) # a site of it needs no onnxruntime-web

def test_train_and_use_a_single_label(small, drawn, tmp_path, capsys):
    for kind in ('grizzly', 'teddys', 'other'): shutil.copytree(drawn/kind, tmp_path/'single'/kind) # no picture may have two labels
    assert main(['train', str(tmp_path/'single'), '--epochs', '1', '--out', str(tmp_path/'mine.onnx'), '--single', '--arch', small]) == 0
    said = capsys.readouterr()
    assert 'exact match' in said.out and 'each 5 times' in said.err # without collages it looks half as often
    assert used(tmp_path/'single', tmp_path/'mine.onnx')['multi_label'] is False

SMALL = '''import sys
from bearclf import cli, multilabel
learner = multilabel.vision_learner
multilabel.vision_learner = lambda *args, pretrained, **kwargs: learner(*args, pretrained=False, **kwargs)
sys.exit(cli.main())''' # as the fixture `small` has it, for a process of its own

def test_ctrl_c_leaves_the_best_model_so_far(drawn, tmp_path):
    p = subprocess.Popen([sys.executable, '-c', SMALL, 'train', str(drawn), '--epochs', '500', '--arch', 'test_efficientnet', '--out', str(tmp_path/'mine.onnx')],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) # ignored in a shell's background
    for line in p.stderr:
        if 'epoch 2' in line: break
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=PATIENCE)
    assert p.returncode == 130 and 'Traceback' not in err, err
    assert 'best' in err and 'exact match' in out
    card = Classifier(tmp_path/'mine.onnx').card
    assert card.stopped_early and card.scores

def test_ctrl_c_is_a_sentence(monkeypatch, capsys):
    def stop(*args): raise KeyboardInterrupt
    monkeypatch.setattr('bearclf.inference.Classifier', stop)
    assert main(['info']) == 130 and capsys.readouterr().err == 'bearclf: stopped.\n'

def test_runs_as_a_module():
    said = subprocess.run([sys.executable, '-m', 'bearclf', '--version'], capture_output=True, text=True, check=True).stdout
    assert said.startswith('bearclf ')

def test_a_table_replaces_no_picture_and_no_model(tmp_path):
    pictures = sorted(sample_images(tmp_path/'drawn', n=2).glob('teddys/*.jpg'))
    before = pictures[0].read_bytes()
    assert 'name of a picture' in complaint(bearclf('predict', '--csv', *pictures))
    assert pictures[0].read_bytes() == before

@pytest.fixture
def mixed(drawn, tmp_path):
    "A folder with all that is not a plain picture in it."
    root = tmp_path/'mixed'
    shutil.copytree(drawn/'teddys', root/'grizzly?')
    shutil.copy(next((drawn/'teddys').glob('*.jpg')), root/'new\nline\x1b[2J.jpg')
    for name in ('IMG_1.CR2', 'IMG_2.nef', 'book.pdf', 'film.MOV', 'notes.txt'): (root/name).touch()
    (root/'empty.jpg').touch()
    return root

def at_terminal(*args):
    "What a terminal gets of a command, as text."
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack('4H', 40, 200, 0, 0))
    p = subprocess.Popen([COMMAND, *map(str, args)], stdin=there, stdout=there, stderr=there)
    os.close(there)
    said = b''
    try:
        while some := os.read(here, 65536): said += some
    except OSError: pass # all is said
    p.wait()
    os.close(here)
    return said.decode()

def test_the_bar_garbles_no_answer(mixed):
    said = at_terminal('predict', mixed)
    piped = bearclf('predict', mixed)
    assert '100%' in said and '8/8' in said
    lines = {re.split('\r', line.rstrip('\r').replace('\x1b[A', ''))[-1] for line in said.split('\n')}
    assert {*piped.stdout.splitlines(), *piped.stderr.splitlines()} <= lines
    assert '\x1b[2J' not in said and '\x1b[2J' not in at_terminal('predict', mixed, '--csv', '-')

def test_the_summary_names_what_was_passed_over(mixed, tmp_path):
    (tmp_path/'none').mkdir()
    r = bearclf('predict', mixed, tmp_path/'none')
    assert r.returncode == 1
    complained, counts, passed, empty = r.stderr.splitlines()
    assert 'empty.jpg is empty' in complained and counts.startswith('8 pictures: ') and 'not readable 1' in counts
    assert all(kind in passed for kind in ('2 RAW files', '1 PDF', '1 film')) and 'no pictures in the folder' in empty
    assert len(bearclf('predict', mixed, '--quiet').stderr.splitlines()) == 1

def test_an_empty_name_is_no_folder():
    r = bearclf('predict', '')
    assert r.returncode == 2 and 'is empty' in r.stderr and len(r.stderr.splitlines()) == 1

def test_with_a_table_complaints_are_heard(tmp_path):
    for i in range(12): (tmp_path/f'{i}.jpg').touch()
    said = bearclf('predict', tmp_path, '--csv', tmp_path/'out.csv').stderr.splitlines()
    assert sum('is empty' in line for line in said) == 10 and any('2 complaints more' in line for line in said)
    said = bearclf('predict', tmp_path).stderr.splitlines()
    assert sum('is empty' in line for line in said) == 12

def test_a_line_names_only_what_was_found(drawn, tmp_path):
    picture = shutil.copy(next((drawn/'other').glob('*.jpg')), tmp_path/'a.jpg')
    line = bearclf('predict', picture, '--threshold', 1).stdout
    assert line == f'{picture}\tnone\n'

def test_a_pipe_gets_the_first_line_at_once(drawn):
    p = subprocess.Popen([COMMAND, 'predict', *[str(f) for f in sorted(drawn.rglob('*.jpg'))]], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, env=os.environ | {'PYTHONUNBUFFERED': ''})
    first = p.stdout.readline()
    p.send_signal(signal.SIGSTOP)
    os.set_blocking(p.stdout.fileno(), False)
    rest = p.stdout.read() or b''
    p.send_signal(signal.SIGCONT)
    p.kill(); p.wait()
    assert b'\t' in first and rest.count(b'\n') < 29 # before all were done

@pytest.mark.parametrize('separator', ['\n', '\0', '\r\n'])
def test_files_from_a_list(drawn, tmp_path, separator):
    files = sorted(map(str, drawn.glob('teddys/*.jpg')))
    (tmp_path/'list').write_text(separator.join(files), newline='')
    for r in (bearclf('predict', '--files-from', tmp_path/'list'), bearclf('predict', '--files-from', '-', input=separator.join(files))):
        assert r.returncode == 0 and [line.split('\t')[0] for line in r.stdout.splitlines()] == files
    assert 'gone' in complaint(bearclf('predict', '--files-from', tmp_path/'gone'))
    assert '--files-from' in complaint(bearclf('predict'))

@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_lists_that_windows_writes(drawn, tmp_path, encoding):
    files = sorted(map(str, drawn.glob('teddys/*.jpg')))
    (tmp_path/'list').write_text('\r\n'.join(files), encoding=encoding, newline='')
    r = bearclf('predict', '--files-from', tmp_path/'list')
    assert r.returncode == 0 and [line.split('\t')[0] for line in r.stdout.splitlines()] == files

def test_a_list_on_a_closed_standard_input():
    assert 'closed' in complaint(bearclf('predict', '--files-from', '-', preexec_fn=lambda: os.close(0)))

def test_the_page_and_the_table_under_two_spellings_of_one_name(drawn, tmp_path):
    assert 'two names' in complaint(bearclf('predict', drawn, '--csv', 'b.txt', '--html', './b.txt', cwd=tmp_path))

def test_tables_on_standard_output(drawn, tmp_path):
    for kind, read in dict(csv=lambda t: [*csv.DictReader(t.splitlines())], jsonl=lambda t: [*map(json.loads, t.splitlines())]).items():
        bearclf('predict', drawn/'teddys', f'--{kind}', tmp_path/f'out.{kind}')
        with open(tmp_path/f'out.{kind}', newline='') as f: written = f.read()
        assert read(bearclf('predict', drawn/'teddys', f'--{kind}', '-').stdout) == read(written)
    assert bearclf('predict', drawn/'teddys', '--json').stdout == bearclf('predict', drawn/'teddys', '--jsonl', '-').stdout
    assert 'name of a file' in complaint(bearclf('predict', drawn/'teddys', '--parquet', '-'))

def test_thresholds(drawn):
    def found(*args): return [json.loads(line)['labels'] for line in bearclf('predict', drawn, '--json', *args).stdout.splitlines()]
    card = Classifier().card
    probs = [json.loads(line)['probs'] for line in bearclf('predict', drawn, '--json').stdout.splitlines()]
    def expected(thresholds): return [{k for k, p in ps.items() if p >= thresholds[k]} - {'other'} for ps in probs]
    def kinds(labels): return [{*some} - {'other'} for some in labels]
    assert kinds(found('--threshold', '0.3', '--threshold', 'teddys=0.9')) == expected(dict.fromkeys(card.labels, .3) | dict(teddys=.9))
    assert kinds(found('--thresholds', 'highest F1')) == expected(card.threshold_sets['highest F1'])
    assert 'highest F1' in complaint(bearclf('predict', drawn, '--thresholds', 'best'))
    assert 'panda' in complaint(bearclf('predict', drawn, '--threshold', 'panda=0.2'))
    assert '--threshold' in bearclf('predict', drawn, '--threshold', 'much').stderr

def test_output_that_fails_is_a_sentence(drawn):
    picture = next((drawn/'teddys').glob('*.jpg'))
    for args in (['predict', picture], ['info']):
        for where in ('> /dev/full', '>&-'):
            said = subprocess.run(f'{shlex.join([COMMAND, *map(str, args)])} {where}', shell=True, capture_output=True, text=True)
            assert said.returncode == 2 and len(said.stderr.splitlines()) == 1 and 'can not be' in said.stderr, (args, where)

def test_too_little_memory_is_named(drawn, tmp_path):
    "Not packages that do not fit together, which is what the system says where they can't be loaded."
    train = shlex.join([COMMAND, 'train', str(drawn), '--out', str(tmp_path/'bears.onnx')])
    said = subprocess.run(f'ulimit -v 1000000; {train}', shell=True, capture_output=True, text=True)
    assert said.returncode == 2 and 'too little memory' in said.stderr and 'Traceback' not in said.stderr

def test_a_terminal_that_lacks_a_letter(drawn, tmp_path):
    shutil.copy(next((drawn/'teddys').glob('*.jpg')), tmp_path/'くま.jpg')
    os.environ['PYTHONIOENCODING'] = 'ascii'
    try: said = at_terminal('predict', tmp_path, '--quiet')
    finally: del os.environ['PYTHONIOENCODING']
    assert r'\u304f\u307e.jpg' in said and 'teddy bear' in said
