"The plan of the house: the table of rooms in CONTRIBUTING.md, held against what the code imports."
import ast, re, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINE = re.compile(r'^\| `(\w+)` \| (\w+) \| [^|]*\|([^|]*)\|$', re.M)
TABLE = {room: (wing, set(re.findall(r'\w+', imports))) for room, wing, imports in LINE.findall((ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8'))}
HEAVY = {'torch', 'torchvision', 'fastai', 'fastcore', 'timm', 'pandas', 'matplotlib', 'onnx', 'sklearn', 'scipy'}

def taken(module):
    "The rooms that a module imports, anywhere in it: {room: names taken from it}."
    res = {}
    for node in ast.walk(ast.parse((ROOT/'bearclf'/f'{module}.py').read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            for room in (a.name.split('.')[1] for a in node.names if a.name.startswith('bearclf.')): res.setdefault(room, set())
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').split('.')[0] == 'bearclf'):
            room = (node.module or '').removeprefix('bearclf').strip('.')
            if room: res.setdefault(room, set()).update(a.name for a in node.names)
            else: res |= {a.name: set() for a in node.names if a.name in TABLE}  # `from bearclf import pictures`
    return res

def test_every_room_is_in_the_table():
    assert {*TABLE} == {f.stem for f in (ROOT/'bearclf').glob('*.py') if not f.stem.startswith('_')}
    notebooks = {re.search(r'#\| default_exp (\w+)', f.read_text(encoding='utf-8')) for f in (ROOT/'nbs').glob('*.ipynb')}
    assert {m[1] for m in notebooks if m} == {*TABLE}

@pytest.mark.parametrize('room', TABLE)
def test_the_table_says_what_is_imported(room):
    assert {*taken(room)} == TABLE[room][1], 'bring the line in CONTRIBUTING.md into step, if the import is as it should be'

@pytest.mark.parametrize('room', TABLE)
def test_imports_point_one_way(room):
    above = [*TABLE][:[*TABLE].index(room)]
    assert TABLE[room][1] <= {*above}, 'a room imports only rooms that stand above it in the table, so there is no circle'

@pytest.mark.parametrize('room', TABLE)
def test_a_private_name_stays_at_home(room):
    tree = ast.parse((ROOT/'bearclf'/f'{room}.py').read_text(encoding='utf-8'))
    borrowed = {n for names in taken(room).values() for n in names if n.startswith('_')}
    borrowed |= {f'{n.value.id}.{n.attr}' for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr.startswith('_')
                 and isinstance(n.value, ast.Name) and n.value.id in TABLE and n.value.id in taken(room)}
    assert not borrowed

@pytest.mark.parametrize('room', [room for room, (wing, _) in TABLE.items() if wing in ('photographs', 'serving')])
def test_photographs_and_serving_never_import_training(room):
    assert not {i for i in TABLE[room][1] if TABLE[i][0] == 'training'} - ({'train'} if room == 'cli' else set())
    code = f'import sys, bearclf.{room}; print(*{{m.split(".")[0] for m in sys.modules}})'
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & {*loaded}
