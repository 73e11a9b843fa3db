"Fixtures that several of the tests need."
import json

import pytest
from PIL import Image

from bearclf import drawn as drawings
from bearclf.pictures import picture_files
from helpers import ODD, photo
from server import Server

FIRST = 'app site cli cluster batch server install sources export train'.split() # files that last long, the longest first: no worker is left with one

def pytest_collection_modifyitems(items):
    order = {f'test_{name}': i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(FIRST)))

@pytest.fixture(scope='session')
def drawn(tmp_path_factory): return drawings.sample_images(tmp_path_factory.mktemp('drawn')/'drawn', n=10)

@pytest.fixture(autouse=True)
def state(tmp_path_factory, monkeypatch):
    "Places for what bearclf counts for its user and keeps beside weights, that are not yours."
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path_factory.mktemp('state')))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path_factory.getbasetemp()/'torch'))

@pytest.fixture
def small(monkeypatch):
    "The smallest backbone there is, which comes without weights, for trainings whose subject is not what it sees."
    from bearclf import multilabel
    learner = multilabel.vision_learner
    monkeypatch.setattr(multilabel, 'vision_learner', lambda *args, pretrained, **kwargs: learner(*args, pretrained=False, **kwargs))
    return 'test_efficientnet'

@pytest.fixture
def folder(tmp_path):
    "Two labels, and a folder for `labels.csv`."
    root = tmp_path/ODD
    for i, f in enumerate(('grizzly/a.jpg', 'grizzly/b.jpg', 'black bear/sub/c.jpg', 'both/d.jpg', 'both/e, f.jpg')):
        (root/f).parent.mkdir(parents=True, exist_ok=True)
        photo(i).save(root/f)
    return root

@pytest.fixture
def fresh(tmp_path, monkeypatch):
    "A temporary folder of its own and no photographs, so that the drawn set is made anew."
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', None)
    monkeypatch.delenv('BEARCLF_DATA', raising=False)
    (tmp_path/'work').mkdir()
    monkeypatch.chdir(tmp_path/'work')
    return tmp_path

@pytest.fixture
def root(tmp_path):
    "A drawn set, two of each kind, with copies and a manifest's line."
    root = drawings.sample_images(tmp_path/'Bären 熊', n=2)
    g, two = picture_files(root/'grizzly'), picture_files(root/'two_kinds')
    Image.open(g[0]).resize((160, 120)).save(root/'grizzly'/'small.jpg')
    Image.open(two[0]).save(root/'two_kinds'/'copy.png')
    Image.open(two[0]).resize((200, 150)).save(root/'two_kinds'/'z.webp')
    with open(root/'labels.csv', 'a') as f: f.write('two_kinds/copy.png,grizzly;black_bear\ntwo_kinds/z.webp,black_bear;grizzly\n')
    (root/'manifest.jsonl').write_text(json.dumps(dict(file='grizzly/small.jpg', source='test', id='7')) + '\n')
    return root

@pytest.fixture
def server():
    with Server() as s:
        yield s
        s.shutdown()
        assert s.wrong == []
