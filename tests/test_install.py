"The wheel, in an empty environment, from another folder: it classifies with the model that ships, and needs nothing of the training side."
import subprocess, sys
from pathlib import Path

import pytest

from bearclf.drawn import sample_images

ROOT = Path(__file__).parent.parent

def run(*args, **kwargs):
    r = subprocess.run(list(map(str, args)), capture_output=True, text=True, **kwargs)
    assert r.returncode == 0, r.stderr
    return r.stdout

@pytest.fixture(scope='module')
def env(tmp_path_factory):
    tmp = tmp_path_factory.mktemp('install')
    run(sys.executable, '-m', 'build', '--wheel', '--outdir', tmp, ROOT)
    run(sys.executable, '-m', 'venv', tmp/'env')
    run(tmp/'env'/'bin'/'pip', 'install', '-q', *tmp.glob('*.whl'))
    return tmp/'env'/'bin'

def test_the_wheel_classifies(env, tmp_path):
    sample_images(tmp_path/'drawn', n=2)
    out = run(env/'bearclf', 'predict', 'drawn/teddys', cwd=tmp_path)
    assert len(out.splitlines()) == 2 and all(line.startswith('drawn/teddys/') for line in out.splitlines())

def test_training_is_an_extra(env, tmp_path):
    sample_images(tmp_path/'drawn', n=2)
    r = subprocess.run([env/'bearclf', 'train', 'drawn'], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == 2 and "pip install 'bearclf[train]'" in r.stderr and len(r.stderr.splitlines()) == 1
    have = run(env/'pip', 'list')
    assert not [name for name in ('torch', 'fastai', 'pandas', 'matplotlib') if f'\n{name} ' in have]

def test_the_wheel_holds_the_page_that_needs_no_server(env, tmp_path):
    r = subprocess.run([env/'bearclf', 'site', 'public', '--runtime', tmp_path], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == 2 and 'does not hold onnxruntime-web; run `npm install onnxruntime-web@' in r.stderr
    code = 'from bearclf.site import WEB; print(*sorted(f.name for f in WEB.iterdir()))'
    names = run(env/'python', '-c', code, cwd=tmp_path).split()
    assert names == sorted(f.name for f in (ROOT/'bearclf'/'static'/'site').iterdir())
