"What is released, in an empty environment, from another folder: it classifies with the model that ships, and needs nothing of the training side."
import subprocess
from pathlib import Path

import pytest

from bearclf.drawn import sample_images
from tiny_model import tiny_model

ROOT = Path(__file__).parent.parent

def run(*args, **kwargs):
    r = subprocess.run(list(map(str, args)), capture_output=True, text=True, **kwargs)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout

@pytest.fixture(scope='module')
def released(tmp_path_factory):
    "Where `.ci/release` has built, checked and installed both kinds of archive, and has run README's first command with each."
    tmp = tmp_path_factory.mktemp('install')
    assert 'site.png' in run(ROOT/'.ci'/'release', tmp)
    return tmp

@pytest.fixture(params=['sdist', 'wheel'])
def env(released, request): return released/request.param/'bin'

def test_it_classifies(env, tmp_path):
    sample_images(tmp_path/'drawn', n=2)
    out = run(env/'bearclf', 'predict', 'drawn/teddys', cwd=tmp_path)
    assert len(out.splitlines()) == 2 and all(line.startswith('drawn/teddys/') for line in out.splitlines())

def test_training_is_an_extra(env, tmp_path):
    sample_images(tmp_path/'drawn', n=2)
    r = subprocess.run([env/'bearclf', 'train', 'drawn'], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == 2 and "pip install 'bearclf[train]'" in r.stderr and len(r.stderr.splitlines()) == 1
    have = run(env/'pip', 'list')
    assert not [name for name in ('torch', 'fastai', 'pandas', 'matplotlib') if f'\n{name} ' in have]

def test_the_page_that_needs_no_server_comes_along(env, tmp_path):
    out = run(env/'bearclf', 'site', 'public', '--runtime', tmp_path, cwd=tmp_path)
    assert 'a first visit loads' in out and 'libheif-js' in out
    assert {'index.html', 'worker.js', 'model.js', 'kernels.wasm', 'kernels-plain.wasm', 'network.bin.gz'} <= {f.name for f in (tmp_path/'public').iterdir()}
    tiny_model(tmp_path/'tiny.onnx')
    r = subprocess.run([env/'bearclf', 'site', 'mine', '--model', 'tiny.onnx', '--runtime', tmp_path], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == 2 and 'does not hold onnxruntime-web; run `npm install onnxruntime-web@' in r.stderr

def test_a_tag_must_be_the_version(tmp_path):
    r = subprocess.run([ROOT/'.ci'/'release', tmp_path, 'v99'], capture_output=True, text=True)
    assert r.returncode == 1 and 'The tag is v99, but settings.ini says' in r.stderr
