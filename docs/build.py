#!/usr/bin/env python3
"""The site of the project, made by Sphinx from the notebooks and from bearclf's own page:

    pip install -e '.[docs]' && python docs/build.py public

Lessons and rooms are pages: what is exported stands there with its arguments, its source folded away; what is hidden is left out. The page that needs
no server lies under try/ (what it takes from npm may come from a folder given with --runtime). Any warning of Sphinx is an error, and so is a link
within the site that leads nowhere, or a script, style or picture that is fetched from elsewhere."""
import argparse, ast, base64, io, json, re, shutil, sys, tempfile, textwrap, tokenize
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from sphinx.cmd.build import main as sphinx

from bearclf.pictures import BearclfError
from bearclf.site import build_site

ROOT = Path(__file__).parent.parent
GITHUB = re.search(r'^user = (.*)$', (ROOT/'settings.ini').read_text(encoding='utf-8'), re.M)[1]
SOURCE = f'https://github.com/{GITHUB}/bearclf/blob/main/'
WINGS = {'Lessons': '0', 'Photographs': '1', 'Training': '2', 'Serving': '3'} # caption -> first digit of its notebooks
PAPERS = {'MODEL_CARD.md': 'model_card', 'CONTRIBUTING.md': 'contributing', 'CHANGELOG.md': 'changelog'}

# The API: what a cell defines, with the comments beside the arguments (https://fastcore.fast.ai/docments.html)

def comments(source):
    "line -> its comment"
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip('# ') for t in tokens if t.type == tokenize.COMMENT}

def arguments(f, said):
    "Name and comment of each argument of a function that has a comment."
    a = f.args
    args = [*a.posonlyargs, *a.args, *filter(None, [a.vararg]), *a.kwonlyargs, *filter(None, [a.kwarg])]
    last = {x.lineno: x.arg for x in args}
    returns = f.returns.end_lineno if f.returns else None
    return [(x.arg, said[x.lineno]) for x in args if last[x.lineno] == x.arg and x.lineno in said and x.lineno != returns]

def signature(f, drop_self=False):
    "As it is written between `def` and the colon, on one line."
    args = ast.unparse(f.args)
    if drop_self: args = re.sub(r'^(self|s|cls)(, |$)', '', args)
    return f'{f.name}({args})' + (f' -> {ast.unparse(f.returns)}' if f.returns else '')

def fields(f, said):
    lines = [f':param {name}: {text}' for name, text in arguments(f, said)]
    if f.returns and f.returns.end_lineno in said: lines.append(f':return: {said[f.returns.end_lineno]}')
    return lines

def directive(kind, head, body, options=()):
    "A MyST directive; `body` may hold others."
    ticks = ':'*(3 + max([0, *(len(m) - 2 for m in re.findall(r'^:{3,}', body, re.M))]))
    return '\n'.join([f'{ticks}{{py:{kind}}} {head}', *options, '', body, ticks, ''])

def described(node, said, method=False):
    "The entry of a function, class or method."
    doc = prose(ast.get_docstring(node) or '')
    if isinstance(node, ast.ClassDef): return described_class(node, said, doc)
    marks = {ast.unparse(d).split('.')[-1] for d in node.decorator_list}
    if 'property' in marks or 'cached_property' in marks:
        returns = [f':type: {ast.unparse(node.returns)}'] if node.returns else []
        note = said.get(node.returns.end_lineno) if node.returns else None
        return directive('property', node.name, '\n\n'.join(filter(None, [doc, note])), returns)
    options = [f':{m}:' for m in ('classmethod', 'staticmethod') if m in marks]
    return directive('method' if method else 'function', signature(node, method and 'staticmethod' not in marks),
                     '\n'.join([doc, '', *fields(node, said)]), options)

def described_class(node, said, doc):
    methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
    init = next((n for n in methods if n.name == '__init__'), None)
    held = [n for n in node.body if isinstance(n, ast.AnnAssign)] if not init else []
    head = signature(init, True).removeprefix('__init__') if init else f'({", ".join(n.target.id for n in held)})'
    lines = fields(init, said) if init else [f':param {n.target.id}: {said[n.lineno]}' for n in held if n.lineno in said]
    public = [described(n, said, True) for n in methods if not n.name.startswith('_')]
    return directive('class', node.name + head, '\n'.join([doc, '', *lines, '', *public]))

def defined(source):
    "What a cell defines: the nodes, and the names."
    nodes = ast.parse(source).body
    things = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    assigned = [t.id for n in nodes if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
    return things, [n.name for n in things] + assigned

def exported(source):
    "The entries of what is public, and the source, folded away."
    things, names = defined(source)
    said = comments(source)
    entries = [described(n, said) for n in things if not n.name.startswith('_')]
    name = ', '.join(names) or 'imports'
    return '\n'.join(entries) + f'\n<details class="source"><summary>Source: {name}</summary>\n\n{fenced(source)}\n\n</details>\n'

# Cells

def fenced(text, language='python'): return f'````{language}\n{text.rstrip()}\n````\n'

SYMBOLS = {} # name -> where it is described

def prose(text):
    "Markdown with links as they are here; a public name in backticks becomes a link to its entry."
    text = re.sub(r'\[!\[([^]]*)\]\(http[^)]*\)\](\([^)]*\))', r'[\1]\2 ', text) # badges are pictures from elsewhere
    text = re.sub(r'\]\((?:nbs/)?(\d\w+)\.ipynb', r'](\1.md', text)
    for file, page in PAPERS.items(): text = text.replace(f'](../{file}', f']({page}.md').replace(f']({file}', f']({page}.md')
    text = re.sub(r'\]\(\.\./([\w./]*)\)', rf']({SOURCE}\1)', text)
    parts = re.split(r'(^```.*?^```|^#.*?$|\[[^]]*\]\([^)]*\)|\|.*?$)', text, flags=re.M | re.S)
    def linked(m): return f'{{py:obj}}`{m[1]} <{SYMBOLS[m[1]]}>`' if m[1] in SYMBOLS else m[0]
    return ''.join(p if i % 2 else re.sub(r'(?<![`}])`([A-Za-z]\w+)`(?!`)', linked, p) for i, p in enumerate(parts))

def pictured(data, kind, stem, figures):
    "Write a picture that a cell made; how it is shown."
    n = len([*figures.glob(f'{stem}-*')])
    name = f'{stem}-{n}.{kind.split("/")[1]}'
    (figures/name).write_bytes(base64.b64decode(data))
    return f'![What this cell shows](figures/{name})'

def shown(output, stem, figures):
    "An output as Markdown; none of progress bars and widgets."
    if output['output_type'] == 'stream':
        text = ''.join(output['text'])
        return fenced(text, 'text') if output['name'] == 'stdout' and text.strip() else ''
    data = {k: ''.join(v) if isinstance(v, list) else v for k, v in output.get('data', {}).items()}
    if any('widget' in k for k in data): return ''
    for kind in ('image/png', 'image/jpeg'):
        if kind in data: return pictured(data[kind], kind, stem, figures)
    if 'text/html' in data: return fenced(data['text/html'], '{raw} html')
    if 'text/markdown' in data: return data['text/markdown']
    return fenced(data['text/plain'], 'text') if 'text/plain' in data else ''

def code(cell, stem, figures):
    "A code cell: left out, described, or shown with what it gave."
    lines = ''.join(cell['source']).splitlines()
    orders = {l[2:].strip().split(':')[0].split(' ')[0] for l in lines if l.startswith('#|')}
    source = '\n'.join(l for l in lines if not l.startswith('#|'))
    if orders & {'hide', 'default_exp'} or not source.strip(): return ''
    if 'export' in orders: return exported(source)
    outputs = '\n'.join(filter(None, (shown(o, stem, figures) for o in cell['outputs'])))
    return fenced(source) + (f'\n::::::{{container}} output\n{outputs}\n::::::\n' if outputs else '')

def cells(file): return json.loads(file.read_text(encoding='utf-8'))['cells']

def room(file):
    "The module that a notebook is exported to, or None."
    m = re.search(r'#\| default_exp (\w+)', file.read_text(encoding='utf-8'))
    return m and m[1]

def page(file, figures):
    "A notebook as Markdown."
    parts = [prose(''.join(c['source'])) if c['cell_type'] == 'markdown' else code(c, file.stem, figures) for c in cells(file)]
    if module := room(file): parts.insert(1, f':::{{py:currentmodule}} bearclf.{module}\n:::\n')
    if file.stem != 'index': parts.append(f'---\n\nThis page is the notebook [{file.name}]({SOURCE}nbs/{file.name}).')
    return '\n\n'.join(filter(None, parts))

# The site

def rooms(): return sorted(f for f in (ROOT/'nbs').glob('[0-9]*.ipynb'))

def learn_symbols():
    "Which public names there are, and where."
    for f in rooms():
        for c in cells(f):
            source = ''.join(c['source'])
            if c['cell_type'] != 'code' or not source.startswith('#| export'): continue
            SYMBOLS.update({n.name: f'bearclf.{room(f)}.{n.name}' for n in defined(source)[0] if not n.name.startswith('_')})

def toctree(caption, pages): return '\n'.join([f'```{{toctree}}', ':hidden:', f':caption: {caption}', '', *pages, '```', ''])

def write_pages(folder):
    "All that Sphinx reads."
    shutil.copytree(ROOT/'nbs'/'figures', folder/'figures')
    learn_symbols()
    for f in rooms(): (folder/f'{f.stem}.md').write_text(page(f, folder/'figures'), encoding='utf-8')
    for file, name in PAPERS.items():
        (folder/f'{name}.md').write_text(prose((ROOT/file).read_text(encoding='utf-8')), encoding='utf-8')
    trees = [toctree(w, [f.stem for f in rooms() if f.stem.startswith(n)]) for w, n in WINGS.items()]
    front = page(ROOT/'nbs'/'index.ipynb', folder/'figures')
    (folder/'index.md').write_text('\n'.join([front, *trees, toctree('The project', PAPERS.values())]), encoding='utf-8')

class Links(HTMLParser):
    "What a page links to and loads, and the places in it."
    def __init__(self, file):
        super().__init__()
        self.links, self.loads, self.places = [], [], set()
        self.feed(file.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.places |= {a.get('id'), a.get('name')}
        if tag == 'a' and a.get('href'): self.links.append(a['href'])
        self.loads += [a[k] for k in ('src', 'href') if k in a and tag in ('img', 'script', 'link', 'source', 'iframe') and a.get('rel') != 'canonical']

def wrong_links(out):
    "Each link of the site that leads nowhere, and whatever is loaded from elsewhere."
    pages = {f.resolve(): Links(f) for f in out.rglob('*.html')}
    for file, page in pages.items():
        where = file.relative_to(out.resolve())
        for link in page.loads:
            if urlsplit(link).scheme not in ('', 'data') or link.startswith('//'): yield f'{where} loads {link}'
        for link in page.links + page.loads:
            if urlsplit(link).scheme or link.startswith('//'): continue
            path, place = urldefrag(link)
            to = (file.parent/unquote(urlsplit(path).path)).resolve() if urlsplit(path).path else file
            if to.is_dir(): to = to/'index.html'
            if not to.is_file(): yield f'{where} links to {link}, which is not there'
            elif place and to in pages and unquote(place) not in pages[to].places: yield f'{where} links to {link}: no such place'

def build(out, runtime=None):
    "Write the site to the folder `out`, which is emptied first; the faults found, each a line."
    if out.exists():
        if any(out.iterdir()) and not (out/'genindex.html').is_file():
            raise BearclfError(f'{out} holds what is no site; give another folder, or empty it.')
        shutil.rmtree(out)
    with tempfile.TemporaryDirectory() as tmp:
        write_pages(Path(tmp))
        options = ['-W', '--keep-going', '-q', '-b', 'html', '-c', str(ROOT/'docs'), '-d', f'{tmp}/.doctrees']
        if sphinx([*options, tmp, str(out)]): return ['Sphinx has warnings, see above']
    build_site(out/'try', runtime=runtime)
    return [*wrong_links(out)]

def main():
    parser = argparse.ArgumentParser(description='Build the site of the project.')
    parser.add_argument('out', type=Path, help='the folder to write')
    parser.add_argument('--runtime', help='as `bearclf site` takes it')
    args = parser.parse_args()
    try: wrong = build(args.out, args.runtime)
    except BearclfError as e: wrong = [str(e)]
    if not wrong: return print(f'{len([*args.out.rglob("*.html")])} pages in {args.out}; every link leads somewhere, and nothing is loaded from elsewhere.')
    sys.exit('\n'.join(wrong))

if __name__ == '__main__': main()
