"A set's record: lines are whole, moves are followed, credits escape what strangers wrote."
import csv, html.parser, json, os

import pytest

from bearclf import checks, clean
from bearclf.checks import dedupe
from bearclf.download import download
from bearclf.labels import read_labels_csv
from bearclf.manifest import (Manifest, aside_of, follow_moves, move_recorded, of_one_page, read_manifest, record_move, settle,
                              write_credits)
from bearclf.pictures import DataError, picture_files
from bearclf.sources import Drawn, Flickr, INaturalist
from helpers import tree
from server import rows, service

def test_moves_are_whole_lines_whatever_came_before(tmp_path):
    for before in (b'', b'{"file": "a/1.jpg"}\n', b'{"file": "a/1.jpg"}\n{"file": "a/2', b'{"fi'):
        (tmp_path/'manifest.jsonl').write_bytes(before)
        record_move(tmp_path, tmp_path/'a'/os.fsdecode(b'\xff 1.jpg'), tmp_path/'b'/'1.jpg', 'by hand')
        lines = list(read_manifest(tmp_path))
        assert lines[-1]['file'] == 'a/\udcff 1.jpg' and len(lines) == 1 + before.count(b'\n')
        assert (tmp_path/'manifest.jsonl').read_bytes().startswith(before[:before.rfind(b'\n') + 1])

def test_a_manifest_that_can_not_be_written(root, monkeypatch):
    was = tree(root)
    def full(_): raise OSError(28, 'No space left on device')
    with monkeypatch.context() as m:
        m.setattr(os, 'fsync', full)
        with pytest.raises(DataError, match='No space left') as e: dedupe(root)
    assert '\n' not in str(e.value) and tree(root) == was  # no move without its line
    (root/'manifest.jsonl').write_text('{"file": 1\n')
    with pytest.raises(DataError, match='line 1'): dedupe(root)

def test_a_photograph_is_followed_through_all_its_moves():
    lines = [dict(file='g/1', id='a'), dict(file='g/1', moved_to='t/1'), dict(file='g/1', id='b'), dict(file='t/1', moved_to='../aside/t/1'), dict(file='x', moved_to='y')]
    assert follow_moves(lines) == {'../aside/t/1': lines[0], 'g/1': lines[2], 'y': {'file': 'x'}}

def test_a_full_disk_under_the_manifest(tmp_path):
    if not os.path.exists('/dev/full'): pytest.skip('there is no /dev/full')
    with Manifest(tmp_path) as m:
        m.add({'file': 'a', 'source': 's', 'id': '1'})
        f = m._f
        class Full:
            def __getattr__(self, name): return getattr(f, name)
            def write(self, line): return f.write(line[:5])
        m._f = Full()
        with pytest.raises(DataError, match='No space left'): m.add({'file': 'b', 'source': 's', 'id': '2'})
    assert [r['file'] for r in rows(tmp_path)] == ['a']

def test_credits_name_what_was_moved_and_set_aside(server, tmp_path):
    dest = tmp_path/'images'
    server.side = 90
    download('grizzly', n=1, source=service(server), dest=dest)                                # too small: `verify` sets it aside
    server.side = 120
    download(['grizzly', 'teddy'], n=10, source=service(server), dest=dest)
    copies = checks.dedupe(dest).copies                                                          # the server has eight pictures
    c = clean.Cleaner(dest)
    c.move(0, 'teddy' if c.pictures[0].labels == ('grizzly',) else 'grizzly')
    c.set_aside(1)
    page = write_credits(dest).read_text()
    assert copies and page.count('<tr><td>') == page.count('>Ada &amp; Ben<') == page.count('licenses/by/2.0/') == 20
    assert page.startswith('<!doctype html>') and '20 photographs<' in page and 'set aside: grizzly' in page
    assert {o['why'].split()[0] for o in rows(dest) if 'why' in o} == {'is', 'duplicate', 'by'}

def test_credits_say_what_they_satisfy(server, tmp_path):
    ids = server.ids('grizzly')
    server.attributions[ids[1]] = '<i>Photo:</i> Ada &amp; Co, zoo.example'
    download('grizzly', n=2, source=service(server), dest=tmp_path, check=False)
    page = write_credits(tmp_path).read_text()
    assert page.count(f'<td>Bear {ids[0]}</td><td>Ada &amp; Ben</td>') == 1 and '<td>Photo: Ada &amp; Co, zoo.example</td>' in page
    for words in ('in all versions', 'NC, no commercial use', 'say what you changed'): assert words in page.replace('\n', ' ')
    assert 'SmugMug' not in page and 'iNaturalist' not in page
    for kind, notice in ((Flickr, 'This product uses the Flickr API but is not endorsed or certified by SmugMug, Inc.'), (INaturalist, 'whatever their licences say')):
        download('teddys', n=1, source=service(server, kind), dest=tmp_path, check=False)
        assert notice in write_credits(tmp_path).read_text()
    with open(write_credits(tmp_path, tmp_path/'page.html').with_suffix('.csv'), newline='') as f: rows_ = list(csv.DictReader(f))
    assert len(rows_) == 4 and {r['attribution'] for r in rows_} == {'', 'Photo: Ada & Co, zoo.example'} and {r['photographer'] for r in rows_} == {'Ada & Ben'}
    with pytest.raises(DataError, match='ends in .html'): write_credits(tmp_path, tmp_path/'x.CSV')

def test_a_manifest_of_another_program_is_none(tmp_path):
    (tmp_path/'set'/'grizzly').mkdir(parents=True)
    files = [tmp_path/'set'/'grizzly'/f'{i}.jpg' for i in range(2)]
    lines = ''.join(json.dumps(dict(file=f'grizzly/{f.name}', page='https://x/1')) + '\n' for f in files)
    (tmp_path/'manifest.jsonl').write_text('["theirs", 1]\n[]\n')
    (tmp_path/'set'/'manifest.jsonl').write_text(lines)
    assert of_one_page(files) == [files]
    (tmp_path/'set'/'manifest.jsonl').write_text(lines + '[]\n')
    with pytest.raises(DataError, match='line 3'): of_one_page(files)

def test_credits_of_odd_names(server, tmp_path):
    download('grizzly', n=1, source=service(server), dest=tmp_path/'images', check=False)
    [file] = picture_files(tmp_path/'images')
    try: file.rename(file.with_name(os.fsdecode(b'\xff,"\n.jpg')))
    except OSError: pytest.skip('no such names here')
    write_credits(tmp_path/'images')
    with open(tmp_path/'images'/'credits.csv', encoding='utf-8', errors='surrogateescape', newline='') as f: [row] = csv.DictReader(f)
    assert (tmp_path/'images'/row['file']).is_file()
    assert checks.verify(tmp_path/'images').not_pictures == []

def test_credits_of_a_title_that_was_cut_in_a_letter(tmp_path):
    download('grizzly', n=1, source=Drawn(), dest=tmp_path)
    [row] = rows(tmp_path)
    with Manifest(tmp_path) as m: m.add(row | dict(title='Bear \ud83d'))
    write_credits(tmp_path)
    with open(tmp_path/'credits.csv', encoding='utf-8', newline='') as f: assert next(csv.DictReader(f))['title'] == 'Bear ?'

def test_credits_hold_no_formula(tmp_path):
    download('grizzly', n=1, source=Drawn(), dest=tmp_path)
    [row] = rows(tmp_path)
    with Manifest(tmp_path) as m: m.add(row | dict(title='=HYPERLINK("http://evil")', photographer='@ann'))
    write_credits(tmp_path)
    with open(tmp_path/'credits.csv', encoding='utf-8', newline='') as f: [said] = csv.DictReader(f)
    assert said['title'] == '\'=HYPERLINK("http://evil")' and said['photographer'] == "'@ann"

@pytest.mark.parametrize('written', ['grizzly\\a\u0308.jpg', 'grizzly/\u00e4.jpg', './grizzly//a\u0308.jpg'])
def test_lines_of_a_table_follow_however_they_are_written(tmp_path, written):
    root = tmp_path/'set'
    (root/'grizzly').mkdir(parents=True)
    file, to = root/'grizzly'/'a\u0308.jpg', aside_of(root)/'grizzly'/'a\u0308.jpg'
    file.touch()
    (root/'labels.csv').write_text(f'file,labels\n{written},grizzly;teddys\n', encoding='utf-8')
    move_recorded(root, file, to, 'by hand', set())
    settle(root)
    assert read_labels_csv(root) == {} and read_labels_csv(aside_of(root)) == {to: ('grizzly', 'teddys')}
    move_recorded(root, to, file, 'by hand', set())
    settle(root)
    assert read_labels_csv(root) == {file: ('grizzly', 'teddys')}

def test_credits_escape_what_strangers_wrote(tmp_path):
    download('grizzly', n=3, source=Drawn(), dest=tmp_path)
    evil = '"><script>alert(1)</script>\u202e'
    old = rows(tmp_path)
    with Manifest(tmp_path) as m:
        for r, page in zip(old, ('javascript:alert(1)', 'https://x/"onclick="alert(1)', evil)):
            m.add(r | {'photographer': evil, 'licence': evil, 'page': page})
    class Look(html.parser.HTMLParser):
        tags, links = set(), []
        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)
            assert not [k for k, _ in attrs if k.startswith('on')]
            self.links += [v for k, v in attrs if k == 'href']
    look = Look()
    look.feed(write_credits(tmp_path, tmp_path/'c.html').read_text(encoding='utf-8'))
    assert 'script' not in look.tags and look.links == ['https://x/"onclick="alert(1)']
    with Manifest(tmp_path) as m: m.add({'file': old[0]['file'], 'moved_to': 'other/x (2).jpg', 'why': 'by hand'})
    (tmp_path/'other').mkdir()
    (tmp_path/old[0]['file']).rename(tmp_path/'other'/'x (2).jpg')
    (tmp_path/'grizzly'/'mine.jpg').write_bytes(picture_files(tmp_path)[0].read_bytes())
    assert 'the source of 1 is not known' in write_credits(tmp_path).read_text()
    with pytest.raises(DataError): write_credits(tmp_path/'gone')

@pytest.mark.parametrize('line, good', [({'file': 5}, False), ({'moved_to': ['a']}, False), ({'source': []}, False), ({'file': 'a/1.jpg', 'source': None, 'id': 7}, True)])
def test_lines_that_others_wrote(tmp_path, line, good):
    (tmp_path/'manifest.jsonl').write_text(json.dumps(line) + '\n')
    if good: assert [*read_manifest(tmp_path)] == [line]
    else:
        with pytest.raises(DataError, match='line 1, is no JSON object of a photograph'): [*read_manifest(tmp_path)]
