"The `bearclf` command, as a shell runs it: exit codes, what goes where, bad folders before any work, Ctrl-C."
import csv, json, os, shutil, signal, subprocess, sys
from pathlib import Path

import pytest

from bearclf.data import read_labels
from bearclf.drawn import sample_images
from bearclf.inference import Classifier

COMMAND = str(Path(sys.executable).with_name('bearclf'))

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
    assert r.returncode == 0 and r.stderr == ''
    assert sorted(Path(f) for f,_ in lines) == sorted(files)
    assert dict(lines)[str(files[0])] == str(Classifier().predict(files[0]))

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
    assert card['labels'] == ['black_bear', 'grizzly', 'other', 'teddys'] and card['multi_label'] is True

@pytest.mark.parametrize('single', [False, True])
def test_train_and_use(drawn, tmp_path, single):
    root = drawn
    if single: # no picture may have two labels
        root = tmp_path/'single'
        for kind in ('grizzly', 'teddys', 'other'): shutil.copytree(drawn/kind, root/kind)
    out = tmp_path/'mine.onnx'
    r = bearclf('train', root, '--epochs', 1, '--out', out, *['--single']*single)
    assert r.returncode == 0, r.stderr
    assert 'exact match' in r.stdout
    card = json.loads(bearclf('info', out).stdout)
    assert card['multi_label'] is not single and card['scores'] and card['command'].startswith('bearclf train')
    assert bearclf('predict', root, '--model', out).returncode == 0
    assert [f.name for f in tmp_path.iterdir() if f != root] == ['mine.onnx']

def test_ctrl_c_leaves_the_best_model_so_far(drawn, tmp_path):
    p = subprocess.Popen([COMMAND, 'train', str(drawn), '--epochs', '500', '--out', str(tmp_path/'mine.onnx')],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) # ignored in a shell's background
    for line in p.stderr:
        if 'epoch 2' in line: break
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=300)
    assert p.returncode == 130 and 'Traceback' not in err, err
    assert 'best' in err and 'exact match' in out
    card = Classifier(tmp_path/'mine.onnx').card
    assert card.stopped_early and card.scores

def test_runs_as_a_module():
    said = subprocess.run([sys.executable, '-m', 'bearclf', '--version'], capture_output=True, text=True, check=True).stdout
    assert said.startswith('bearclf ')

def test_a_table_replaces_no_picture_and_no_model(tmp_path):
    pictures = sorted(sample_images(tmp_path/'drawn', n=2).glob('teddys/*.jpg'))
    before = pictures[0].read_bytes()
    said = subprocess.run([sys.executable, '-m', 'bearclf', 'predict', '--csv', *map(str, pictures)], capture_output=True, text=True)
    assert said.returncode == 2 and 'name of a picture' in said.stderr and len(said.stderr.splitlines()) == 1
    assert pictures[0].read_bytes() == before
