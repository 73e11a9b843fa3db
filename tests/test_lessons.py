"The lessons' first cell: installs the package on Colab, and does nothing anywhere else."
import json, re
from pathlib import Path

import pytest

NBS = Path(__file__).parent.parent/'nbs'
LESSONS = '00_data', '01_multilabel', '02_other_class', '03_single_vs_multi'

def cells(lesson): return json.loads((NBS/f'{lesson}.ipynb').read_text(encoding='utf-8'))['cells']

def first_code(lesson): return next(''.join(c['source']) for c in cells(lesson) if c['cell_type'] == 'code')

@pytest.mark.parametrize('lesson', LESSONS)
@pytest.mark.parametrize('on_colab', [True, False])
def test_installs_on_colab_alone(lesson, on_colab, monkeypatch):
    monkeypatch.delenv('COLAB_RELEASE_TAG', raising=False)
    if on_colab: monkeypatch.setenv('COLAB_RELEASE_TAG', 'release-colab-20260101')
    installed = []
    code = re.sub(r'%pip install (.*)', lambda m: f'installed.append({m[1]!r})', first_code(lesson))
    exec(code, dict(installed=installed))
    assert installed == (["-q 'bearclf[train] @ git+https://github.com/bearclf/bearclf'"] if on_colab else [])

@pytest.mark.parametrize('lesson', LESSONS)
def test_the_badge_opens_this_lesson(lesson):
    assert f'colab.research.google.com/github/bearclf/bearclf/blob/main/nbs/{lesson}.ipynb' in ''.join(cells(lesson)[0]['source'])
