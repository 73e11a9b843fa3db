"Photo services, against a server that speaks their protocols."
import csv, gzip, multiprocessing, re, time, types

import pytest, requests
from flickrapi import FlickrAPI

from bearclf import network, sources
from bearclf.download import _Ledger, download
from bearclf.manifest import write_credits
from bearclf.pictures import DataError, PictureError, picture_files
from bearclf.sources import Flickr, INaturalist, INaturalistOpenData, Openverse, Wikimedia
from server import BASES, CODES, hasty, is_whole, net, rows, service

@pytest.mark.parametrize('kind', BASES)
def test_each_service(server, tmp_path, kind):
    res = download(['black bear', 'grizzly'], n=10, source=service(server, kind), dest=tmp_path/'images')
    assert [(w.query, w.folder) for w in res.words] == [('black bear', 'black_bear'), ('grizzly', 'grizzly')]
    assert all((w.found, w.new, w.there, w.refused.total()) == (10, 10, 0, 0) for w in res.words)
    assert res.trouble == '' and res.report.checked == 20 and kind.title in str(res)
    assert len(is_whole(tmp_path/'images')) == 20
    assert max(server.asked.values()) == 1 and server.busiest <= network.AT_ONCE
    for r in rows(tmp_path/'images'):
        assert (r['source'], r['photographer'], r['query']) == (kind.name, 'Ada & Ben', {1: 'black bear', 2: 'grizzly'}[int(r['id'])//10000])
        assert r['licence'] == ('CC BY 4.0' if kind is INaturalist else 'CC BY 2.0')
        assert r['page'].startswith('https://') and r['url'].startswith(server.url) and r['time'].endswith('+00:00')
    assert all(a.startswith('bearclf/') and '@' in a and 'http' in a for a in server.agents)

@pytest.mark.parametrize('kind', BASES)
def test_pages_without_repeats(server, tmp_path, kind):
    server.n, server.overlap = 45, 3
    if kind is Wikimedia: server.n = 120
    source = service(server, kind)
    found = [r.id for r in source.search('grizzly', 20 if kind is Flickr else 44)]
    assert len(found) == len(set(found)) == (20 if kind is Flickr else 44)
    all_of_them = [r.id for r in source.search('grizzly', 1000)]
    assert len(all_of_them) == len(set(all_of_them)) == server.n

def test_wikimedia_may_answer_in_two_halves(server):
    ids = server.ids('grizzly')
    half = [{'pageid': int(i), 'ns': 6, 'title': f'File:{i}.jpg', 'index': k} for k, i in enumerate(ids)]
    server.api_faults = [{'query': {'pages': half}, 'continue': {'iicontinue': 'x', 'continue': '||'}}]
    assert [(r.id, r.url != '') for r in service(server, Wikimedia).search('grizzly', 100)] == [(i, True) for i in ids]

@pytest.mark.parametrize('kind', BASES)
def test_nothing_found(server, tmp_path, kind):
    res = download(['nothing', 'grizzly'], n=2, source=service(server, kind), dest=tmp_path/'images')
    assert [w.new for w in res.words] == [0, 2] and not res.ok and 'nothing: nothing was found' in str(res)

@pytest.mark.parametrize('kind', BASES)
def test_records_that_lack_something(server, tmp_path, kind):
    server.lacking = {server.ids('grizzly')[i] for i in (5, 6)}
    res = download('grizzly', n=8, source=service(server, kind), dest=tmp_path/'images')
    assert (res.words[0].new, res.words[0].refused.total()) == (8, 2) and 'is incomplete' in str(res)
    is_whole(tmp_path/'images')
    with pytest.raises(PictureError, match='incomplete'): service(server, kind).fetch(sources.Record(kind.name, '5', 'grizzly'), tmp_path)

@pytest.mark.parametrize('kind', BASES)
@pytest.mark.parametrize('faults, trouble', [
    (['no-json'], 'no JSON|not in its format'), (['a-list'], 'not in its format'), ([{}], 'without'), ([{'results': 3, 'photos': []}], 'without'),
    (['broken']*4, 'answered 500'), (['broken', 'broken'], ''), (['busy-a-second'], ''), (['busy', 'busy'], ''), (['busy']*4, 'answered 429'), (['forbidden'], 'answered 403'), (['busy-an-hour'], 'asks to wait 60 minutes'),
    (['cut'], ''), (['stall']*4, 'fell silent'), (['gone'], 'answered 404')])
def test_a_service_in_trouble(server, tmp_path, kind, faults, trouble):
    server.api_faults = list(faults)
    source = service(server, kind, net=hasty(faults[0]))
    if kind is Flickr and isinstance(faults[0], dict): server.api_faults = [{**faults[0], 'stat': 'ok'}]
    start = time.monotonic()
    res = download(['black bear', 'grizzly'], n=2, source=source, dest=tmp_path/'images', check=False)
    if trouble:
        assert re.search(trouble, res.trouble) and kind.title in res.trouble and res.trouble in str(res) and not res.ok and len(res.words) == 1
        server.api_faults = []
        res = download(['black bear', 'grizzly'], n=2, source=service(server, kind), dest=tmp_path/'images', check=False)
    assert res.ok and [w.new for w in res.words] == [2, 2]
    if faults == ['busy-a-second']: assert time.monotonic() - start > 1

def test_openverse_goes_on_at_the_page_where_it_was_cut_off(server, tmp_path):
    server.n, new = 200, []
    for _ in range(4): # sittings, an hour apart
        server.patience = len(server.queries) + 5
        res = download(['grizzly', 'teddy'], n=170, source=service(server, Openverse), dest=tmp_path/'images', check=False)
        new.append([w.new for w in res.words])
    assert new == [[100], [70, 20], [0, 100], [0, 50]] and res.ok and [w.kept for w in res.words] == [170, 170]
    pages = [(q['q'], q['page']) for _, q in server.queries]
    assert len(pages) - len(set(pages)) == 3 and max(server.asked.values()) == 1  # only what was refused is asked for anew

def test_openverse_keeps_to_the_limits_that_it_tells(server, tmp_path, monkeypatch):
    slept, now = [], [100.]
    def sleep(seconds): slept.append(seconds), now.__setitem__(0, now[0] + seconds)
    monkeypatch.setattr(sources, 'time', types.SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    server.n, server.rates = 240, {'anon_burst': ['20/min', 20], 'anon_sustained': ['200/day', 7]}
    source = service(server, Openverse, interval=None)
    res = download('grizzly', n=200, source=source, dest=tmp_path, check=False)
    assert res.words[0].new == 140 and 'Openverse allows 200 queries a day, more with a key' in res.trouble and 'stays, so try the same again later' in res.trouble
    assert len(server.queries) == 7 and slept[1:] == [3.]*7 # the eighth was not even sent
    assert 'all of them are used' in download('teddy', n=2, source=source, dest=tmp_path, check=False).trouble and len(server.queries) == 7
    now[0] += 86401
    server.rates['anon_sustained'][1] = 200
    assert download('teddy', n=2, source=source, dest=tmp_path, check=False).ok
    server.rates = {'anon_burst': ['100/min', 3]}
    source, slept[:] = service(server, Openverse, interval=None), []
    with pytest.raises(sources.SourceError, match='asks to wait'): list(source.search('grizzly', 80))
    assert slept[1:] == pytest.approx([3., .6, 60.])

def test_openverse_knows_its_registered_clients(server, tmp_path):
    server.n, server.rates = 60, {'anon_sustained': ['200/day', 0]}
    res = download('grizzly', n=50, source=Openverse('good', 'secret', base=f'{server.url}/openverse/', net=net(), interval=0), dest=tmp_path, check=False)
    assert res.ok and [q.get('page') for _, q in server.queries] == [None, '1', '2', '3'] # one token for all
    told = {path: head.get('Authorization') for _, path, head in server.heads}
    assert told.pop('/openverse/images/') == 'Bearer t0ken' and {*told.values()} == {None}  # and for none of the photographs
    bad = Openverse('good', 'wrong', base=f'{server.url}/openverse/', net=net(), interval=0)
    assert 'OPENVERSE_SECRET' in download('teddy', n=5, source=bad, dest=tmp_path, check=False).trouble
    server.api_faults = [{'access_token': 1}]
    bad = Openverse('good', 'secret', base=f'{server.url}/openverse/', net=net(), interval=0)
    assert 'no token' in download('teddy', n=5, source=bad, dest=tmp_path, check=False).trouble

def test_openverse_says_how_deep_it_goes(server, tmp_path):
    server.n = 300
    res = download('grizzly', n=250, source=service(server, Openverse), dest=tmp_path, check=False)
    assert res.words[0].new == 240 and 'grizzly: Openverse gives no more than 240 for one search; narrow it' in str(res) and not res.trouble
    assert 'no more than' not in str(download('grizzly', n=200, source=service(server, Openverse), dest=tmp_path, check=False))

def test_trouble_in_the_middle_keeps_what_is_there(server, tmp_path):
    server.n = 60
    server.api_faults = [None, None, 'busy-an-hour']
    res = download(['grizzly', 'teddy'], n=50, source=service(server, Openverse), dest=tmp_path/'images', check=False)
    assert res.words[0].new == 40 and len(is_whole(tmp_path/'images')) == 40 and 'asks to wait' in res.trouble
    assert len(server.queries) == 3

def test_no_network(tmp_path):
    source = Wikimedia(base='http://no-such-host.invalid/api.php', net=net(), interval=0)
    assert 'can not be found' in download('grizzly', source=source, dest=tmp_path/'images').trouble
    closed = Wikimedia(base='http://127.0.0.1:9/api.php', net=net(), interval=0)
    assert 'broke off' in download('grizzly', source=closed, dest=tmp_path/'images').trouble

def test_queries_keep_their_distance(server):
    source = service(server, Openverse, interval=.15)
    server.n, start = 60, time.monotonic()
    assert len(list(source.search('grizzly', 60))) == 60
    assert time.monotonic() - start > .3
    assert [service(server, k, interval=None).interval for k in BASES] == [1, 3, 1, 1]

@pytest.mark.parametrize('kind', BASES)
def test_sizes(server, kind):
    wanted = {Flickr: [{'z', 'm'}, {'l', 'z'}, {'k', 'o'}], Openverse: [{'thumb'}, {'o', 'thumb'}, {'o'}],
              INaturalist: [{'medium'}, {'large'}, {'original'}], Wikimedia: [{'500'}, {'960'}, {'o'}]}[kind]
    for size, names in zip(('medium', 'large', 'original'), wanted):
        urls = [r.url.removesuffix('.jpg').split('/') for r in service(server, kind, size=size).search('grizzly', 10)]
        assert {u[-1] if kind is INaturalist else u[-2] for u in urls} == names

def test_wikimedias_widths_keep_the_longer_side(server):
    a, b, c, d, e = server.ids('grizzly')[:5]
    server.shapes = {a: (3000, 4000), b: (1000, 4000), c: (700, 1000), d: (1000, 700), e: (100, 40_000)}
    def names(size):
        found = service(server, Wikimedia, size=size).search('grizzly', 6)
        return [r.url.split('/')[-2] for r in found]
    assert names('large') == ['500', '250', 'o', 'o', '20', '960'] # the last one is wider than tall
    assert sorted(q.get('pageids') for _, q in server.queries[-3:]) == [a, b, e]
    assert names('medium') == ['330', '120', '330', '500', '20', '500'] and names('original') == ['o']*6

def test_commons_ends_a_word_at_its_depth_and_not_the_run(server, tmp_path):
    server.n, server.depth = 130, 50
    server.years = {i: 2010 + k//40 for k, i in enumerate(server.ids('grizzly'))} # by years there are 40, 40, 40, and 10
    res = download(['grizzly', 'teddy'], n=125, source=service(server), dest=tmp_path, check=False)
    assert [w.new for w in res.words] == [125, 50] and res.trouble == '' and len(is_whole(tmp_path)) == 175
    assert 'teddy: Wikimedia Commons gives no more than 10,000 for a search and year; narrow it' in str(res) and 'grizzly: Wiki' not in str(res)

def test_flickr_goes_on_by_years_where_a_search_is_cut_off(server):
    server.n = 4100
    for k, i in enumerate(server.ids('grizzly')): server.years[i] = 2005 + k%20
    net_ = net(max_bytes=10**7)
    found = [r.id for r in service(server, Flickr, net=net_).search('grizzly', 5000)]
    assert len(found) == len(set(found)) == 4100
    server.years = {}
    source = service(server, Flickr, net=net_)
    assert len([*source.search('grizzly', 5000)]) == 4000 and source.note.startswith('Flickr gives no more than 4,000 for a search and year')
    assert len([*source.search('grizzly', 4000)]) == 4000 and source.note == ''  # as many as were wanted

MIXED = {Flickr: ['4', '4', '5', '9', '0'], Openverse: [(l, '2.0', '') for l in ('by', 'by', 'by-sa', 'cc0', 'pdm')],
         Wikimedia: [(f'CC {l} 4.0', '') for l in ('BY', 'BY', 'BY-SA')] + [('CC0', ''), ('Public domain', '')]}

@pytest.mark.parametrize('kind', BASES)
def test_how_many_there_are_by_licence(server, kind):
    server.n = 200
    ids = server.ids('grizzly')
    if kind is INaturalist: server.photos = dict(zip(ids, [['cc-by'], ['cc-by'], ['cc-by-sa'], ['cc0'], ['cc-by-nc']]*40))
    else: server.licences = dict(zip(ids, MIXED[kind]*40))
    count = lambda licence: service(server, kind, licence=licence).count('grizzly')
    last = {Flickr: {}, Openverse: {'pdm': 40}, INaturalist: {'by-nc': 40}, Wikimedia: {'pdm': 40}}[kind]
    assert count('cc').licences == {'by': 80, 'by-sa': 40, 'cc0': 40} | last and count('cc').total == 160 + sum(last.values())
    assert count(['by', 'cc0']).licences == {'by': 80, 'cc0': 40} and count('by').total == 80
    everything = count('any')
    assert everything.total == 200 and everything.licences == {'by': 80, 'by-sa': 40, 'cc0': 40} | last
    how = '; by their structured data, of 200 in all' if kind is Wikimedia else ''
    assert str(count('by')) == f'80 (80 by{how})'
    if kind is Wikimedia:
        server.licences |= dict.fromkeys(ids[:10], ('GFDL', ''))
        assert str(count('cc0')) == '38 (38 cc0; by their structured data, of 200 in all)' and count('cc').total == 190 and count('any').total == 200
        assert count('by-nc').total == 0 and str(count('by-nc')) == '0 (by their structured data, of 200 in all)'
    nothing = service(server, kind).count('nothing')
    assert nothing.total == 0 and str(nothing) == '0' and not server.asked

@pytest.mark.parametrize('kind', BASES)
@pytest.mark.parametrize('total', ['many', [3], None])
def test_a_count_that_is_none(server, kind, total):
    source, answer = service(server, kind), {'photos': {'total': total}, 'stat': 'ok', 'result_count': total, 'total_results': total, 'query': {'searchinfo': {'totalhits': total}}}
    server.api_faults = [None]*(kind in (Flickr, INaturalist)) + [answer]
    with pytest.raises(sources.SourceError, match='is no number|without') as e: source.count('grizzly')
    assert '\n' not in str(e.value) and 'total' in str(e.value) + 'total'*(kind is Openverse)

@pytest.mark.parametrize('kind, answer', [
    (Wikimedia, {'query': {'pages': [{'pageid': 1, 'index': []}, {'pageid': 2}]}, 'batchcomplete': True}), (Openverse, {'results': [], 'page_count': 'x'}),
    (Flickr, {'licenses': {'license': [{'id': '4', 'url': True}]}, 'stat': 'ok'})])
def test_an_answer_that_is_odd_inside(server, kind, answer):
    server.api_faults = [answer]
    with pytest.raises(sources.SourceError, match=f'{kind.title} sent an answer that is not in its format; what is there already stays'): list(service(server, kind).search('grizzly', 5))

def test_flickr_asks_for_licences_by_number(server, tmp_path):
    assert list(service(server, Flickr).search('grizzly', 1))
    assert server.queries[-1][1]['license'] == '1,2,3,4,5,9,10,11' and server.queries[-1][1]['safe_search'] == '1'
    assert list(service(server, Flickr, licence=['by-sa', 'cc0']).search('grizzly', 1)) == []  # all there is is by
    assert server.queries[-1][1]['license'] == '5,9'
    asked = len(server.queries)
    assert list(service(server, Flickr, licence='by-nd').search('grizzly', 1)) == []                    # which it does not have
    assert [q['method'] for _, q in server.queries[asked:]] == ['flickr.photos.licenses.getInfo']
    server.licence = '0'
    assert list(service(server, Flickr).search('grizzly', 1)) == []
    assert next(service(server, Flickr, licence='any').search('grizzly', 1)).licence == 'All Rights Reserved'
    assert 'license' not in server.queries[-1][1] or '0' in server.queries[-1][1]['license']

def test_other_services_are_asked_for_licences(server):
    list(service(server, Openverse, licence=['by', 'cc0']).search('grizzly', 1))
    assert server.queries[-1][1]['license'] == 'by,cc0'
    list(service(server, INaturalist, licence=['by', 'cc0', 'pdm']).search('grizzly', 1))
    assert server.queries[-1][1]['photo_license'] == 'cc-by,cc0'
    for kind in (Openverse, INaturalist, Wikimedia): assert list(service(server, kind, licence='by-nc').search('grizzly', 5)) == []

CC = 'https://creativecommons.org'
@pytest.mark.parametrize('kind, said', [
    (Flickr, {i: (name, name) for i, name in {'0': 'All Rights Reserved', '1': 'CC BY-NC-SA 2.0', '2': 'CC BY-NC 2.0', '3': 'CC BY-NC-ND 2.0', '4': 'CC BY 2.0',
        '5': 'CC BY-SA 2.0', '7': 'No known copyright restrictions', '8': 'United States Government Work', '9': 'CC0 1.0', '10': 'Public Domain Mark 1.0',
        '11': 'CC BY 4.0'}.items()}),
    (Openverse, {('by-sa', '3.0', f'{CC}/licenses/by-sa/3.0/de/'): 'CC BY-SA 3.0 DE', ('by-nc-nd', '2.5', None): 'CC BY-NC-ND 2.5',
        ('cc0', '1.0', f'{CC}/publicdomain/zero/1.0/'): 'CC0 1.0', ('pdm', '1.0', f'{CC}/publicdomain/mark/1.0/'): 'Public Domain Mark 1.0',
        ('by-nd', '4.0', ''): 'CC BY-ND 4.0'}),
    (INaturalist, dict(zip(CODES.split('|'), ['CC0 1.0', 'CC BY 4.0', 'CC BY-SA 4.0', 'CC BY-NC 4.0', 'CC BY-ND 4.0', 'CC BY-NC-SA 4.0', 'CC BY-NC-ND 4.0']))
        | {'pd': 'Public domain', 'gfdl': 'GFDL', None: 'All rights reserved'}),
    (Wikimedia, {('CC BY-SA 3.0 de', f'{CC}/licenses/by-sa/3.0/de/deed.en'): 'CC BY-SA 3.0 DE', ('CC BY 3.0 igo', f'{CC}/licenses/by/3.0/igo/'): 'CC BY 3.0 IGO',
        ('Public domain', ''): 'Public domain', ('GFDL', 'https://www.gnu.org/copyleft/fdl.html'): 'GFDL', ('CC0', f'{CC}/publicdomain/zero/1.0/deed.en'): 'CC0 1.0',
        ('CC BY-SA 4.0', f'{CC}/licenses/by-sa/4.0'): 'CC BY-SA 4.0', ('FAL', 'http://artlibre.org/licence/lal/en'): 'FAL'})])
def test_every_licence_as_it_is(server, tmp_path, kind, said):
    server.n = len(said)
    ids = server.ids('grizzly')
    server.licences = dict(zip(ids, said))
    server.photos = {i: [code] for i, code in server.licences.items()} if kind is INaturalist else {}
    names = {i: name[0] if isinstance(name, tuple) else name for i, name in zip(ids, said.values())}
    assert {r.id: r.licence for r in service(server, kind, licence='any').search('grizzly', 99)} == names
    free = {i for i, name in names.items() if re.match('CC|Public', name) and server.licences[i] != 'pd'} # which iNaturalist can't be asked for
    assert {r.id for r in service(server, kind).search('grizzly', 99)} == free
    res = download('grizzly', n=99, source=service(server, kind, licence='any'), dest=tmp_path/'images', check=False)
    page = write_credits(tmp_path/'images')
    with open(tmp_path/'images'/'credits.csv', encoding='utf-8', newline='') as f: table = {r['id']: r for r in csv.DictReader(f)}
    assert res.words[0].new == len(said) and {i: r['licence'] for i, r in table.items()} == names
    for i, r in table.items():
        assert r['licence_page'] == deed(names[i]) and r['title'] == ('' if kind is INaturalist else f'Bear {i}') and (tmp_path/'images'/r['file']).is_file()
        if r['licence_page']: assert f'<a href="{r["licence_page"]}">{names[i]}</a>' in page.read_text()

def deed(name):
    m = re.match(r'CC (BY\S*) (\d.\d) ?(\w*)$', name)
    if m: return f'{CC}/licenses/{m[1].lower()}/{m[2]}/' + (f'{m[3].lower()}/' if m[3] else '')
    return {'CC0 1.0': f'{CC}/publicdomain/zero/1.0/', 'Public Domain Mark 1.0': f'{CC}/publicdomain/mark/1.0/', 'GFDL': 'https://www.gnu.org/licenses/fdl.html'}.get(name, '')

def test_flickr_says_what_its_codes_mean(server, tmp_path):
    assert 'key' in download('grizzly', source=service(server, Flickr, key='bad'), dest=tmp_path/'images').trouble
    server.api_faults = [{'stat': 'fail', 'code': 105, 'message': 'Service currently unavailable'}]*2
    assert download('grizzly', n=2, source=service(server, Flickr), dest=tmp_path/'images').trouble == ''
    server.api_faults = [{'stat': 'fail', 'code': 105, 'message': 'Service currently unavailable'}]*3
    def trouble(): return download('grizzly', n=3, source=service(server, Flickr), dest=tmp_path/'images').trouble
    assert 'out of order; what is there already stays' in trouble()
    server.api_faults = [None, {'stat': 'fail', 'code': 1, 'message': 'Too many tags'}]
    assert 'Too many tags' in (said := trouble()) and 'later' not in said
    server.api_faults = [{'stat': 'fail'}]
    assert 'not in its format' in trouble()
    assert trouble() == ''

def test_flickr_is_asked_with_the_plain_key(server):
    oauth = FlickrAPI('good', 'secret', format='parsed-json', store_token=False)
    oauth.REST_URL, first = f'{server.url}/flickr', []
    send = oauth.flickr_oauth.session.send
    oauth.flickr_oauth.session.send = lambda request, **kwargs: first.append(request) or send(request, **kwargs)
    assert len(oauth.photos.search(text='grizzly', per_page=5, page=1)['photos']['photo']) == 5  # what a scraper does that signs
    assert requests.Session().send(first[0]).status_code == 401                                  # sent again, its number was used
    server.heads.clear()
    server.api_faults = ['broken', 'broken', None, 'broken', 'busy']
    assert len(list(service(server, Flickr).search('grizzly', 5))) == 5
    assert len(server.heads) == 6 and not any('Authorization' in head for _, _, head in server.heads)

def test_a_cactus_is_no_teddy(server, tmp_path):
    res = download(['teddy', 'Ursus americanus'], n=2, source=service(server, INaturalist), dest=tmp_path/'images')
    assert [w.new for w in res.words] == [0, 2] and 'Teddy-bear Cholla (Cylindropuntia bigelovii)' in str(res)

# iNaturalist

ALIVE, DEAD, ORGANISM, TRACK = (17, 18, 0), (17, 19, 0), (22, 24, 0), (22, 26, 0)

def found(server, n=1000, **kwargs):
    source = service(server, INaturalist, **kwargs)
    return [int(r.id) for r in source.search('grizzly', n)], source.note

def test_living_animals_come_first_and_what_is_marked_as_something_else_never(server):
    ids = server.ids('grizzly')
    marks = [(ALIVE, ORGANISM), (), (DEAD, ORGANISM), (ALIVE, TRACK), (TRACK,), (ORGANISM,), (ALIVE,), (ALIVE, ORGANISM, DEAD), (ALIVE, ORGANISM, (17, 19, -1)),
             ((17, 20, 0),), ((1, 2, 0),), (ALIVE, ORGANISM)]
    server.marks = dict(zip(ids, marks))
    living, unmarked = [11, 8, 0], [10, 6, 5, 1]                                             # newest first
    assert found(server, 3) == ([int(ids[i]) for i in living], '')
    got, note = found(server)
    assert got == [int(ids[i]) for i in living + unmarked] and note.startswith('3 of these are marked as living animals')
    assert server.wrong == []

def test_a_download_tells_when_unmarked_animals_came(server, tmp_path):
    server.marks = {i: () for i in server.ids('grizzly')[3:]}
    for n, told in ((9, False), (10, True)):
        res = download('grizzly', n=n, source=service(server, INaturalist), dest=tmp_path/'images', check=False)
        assert res.words[0].kept == n and res.ok
    assert 'grizzly: 3 of these are marked' in str(res) and 'commercial purposes' in str(res) and 'commercial purposes' in res._repr_html_()

def test_past_the_ten_thousandth(server):
    server.n = 10_150  # ids of the next word begin in between, which nobody asks for here
    got, _ = found(server, 10_150)
    assert len(got) == len(set(got)) == 10_150 and server.wrong == []
    pages = [q for path, q in server.queries if path.endswith('/observations') and 'term_id' in q]
    assert len(pages) == 51 and not any('page' in q for q in pages)
    below = [int(q['id_below']) for q in pages[1:]]
    assert below == sorted(set(below), reverse=True)

def test_all_photographs_of_an_observation_are_looked_at(server):
    a, b, c, d = map(int, server.ids('grizzly')[:4])
    server.n, other = 4, 10**6
    server.photos = {str(a): [None, 'cc-by-nc', 'cc-by'], str(b): ['cc-by', 'cc-by'], str(c): [None, None], str(d): ['pd', 'gfdl']}
    assert found(server) == ([b, a + other, b + other, a + 2*other], '')                    # of c and d no photograph has one of these licences
    assert found(server, licence='by')[0] == [b, a + 2*other, b + other]
    every = {int(r.id): r.licence for r in service(server, INaturalist, licence='any').search('grizzly', 99)}
    assert len(every) == 9 and (every[d], every[d + other], every[c]) == ('Public domain', 'GFDL', 'All rights reserved')
    assert [r.licence for r in service(server, INaturalist, licence=['pdm', 'by']).search('grizzly', 99)][-1] == 'CC BY 4.0'

def test_place_and_days(server, tmp_path):
    ids = server.ids('grizzly')
    server.days = dict(zip(ids, [f'2024-{m:02}-15' for m in range(1, 13)]))
    assert found(server, place='alaska, us', since='2024-03-15', until='2024-05-15')[0] == [int(ids[i]) for i in (4, 3, 2)]
    assert server.queries[-1][1]['place_id'] == '6' and found(server, place='Georgia, US')[0] == []
    for place, told in (('Georgia', 'give one of: Georgia, US; Republic of Georgia'), ('Alas', 'give one of: Alaska, US'), ('Nowhere', 'inaturalist.org/places')):
        res = download('grizzly', source=service(server, INaturalist, place=place), dest=tmp_path/'images')
        assert told in res.trouble and '\n' not in res.trouble
    with pytest.raises(DataError, match='until is .yesterday'): service(server, INaturalist, until='yesterday')
    with pytest.raises(DataError, match='later than'): INaturalistOpenData(tmp_path, since='2024-02-01', until='2024-01-31')

def test_no_more_than_it_gives_in_an_hour(server, tmp_path):
    server.n, source = 100, service(server, INaturalist)
    source.limits = (60_000, 3600, 'an hour'), (10**9, 86400, 'a day')
    res = download('grizzly', n=90, source=source, dest=tmp_path/'images', check=False)
    came = sum(r['bytes'] for r in rows(tmp_path/'images'))
    assert 'gives no more than 6e-05 GB an hour' in res.trouble and 'the same command goes on later' in res.trouble
    one = max(r['bytes'] for r in rows(tmp_path/'images'))
    assert 60_000 <= came <= 60_000 + 2*network.AT_ONCE*one and len(is_whole(tmp_path/'images')) == len(rows(tmp_path/'images')) < 90
    asked = sum(server.asked.values())
    assert download('grizzly', n=90, source=source, dest=tmp_path/'images', check=False).trouble and sum(server.asked.values()) == asked  # in a new process
    source.limits = (60_000, -120, 'an hour'),                                                # as if it were later
    assert download('grizzly', n=90, source=source, dest=tmp_path/'images', check=False).words[0].kept == 90
    assert max(server.asked.values()) == 1

def test_what_an_hour_gives_is_for_all_sets_of_a_user(server, tmp_path, monkeypatch):
    server.n, source = 100, service(server, INaturalist)
    source.limits = (60_000, 3600, 'an hour'),
    def fetch(dest): return download('grizzly', n=90, source=source, dest=tmp_path/dest, check=False)
    assert 'an hour' in fetch('one').trouble
    asked = sum(server.asked.values())
    assert 'an hour' in fetch('two').trouble and not picture_files(tmp_path/'two') and sum(server.asked.values()) == asked
    monkeypatch.setenv('XDG_STATE_HOME', '/proc/none') # a home that can't be written to
    three = fetch('three')
    assert 'an hour' in three.trouble and picture_files(tmp_path/'three') and 'counted for this download alone' in str(three)
    monkeypatch.delenv('XDG_STATE_HOME')
    monkeypatch.setenv('HOME', '~')
    assert picture_files(fetch('four').path) and not [*tmp_path.rglob('received.json*')]
    assert 'alone' not in str(download('grizzly', n=2, source=service(server), dest=tmp_path/'five', check=False)) # nothing to count

def _count_up(n):
    ledger = _Ledger(INaturalist())
    for _ in range(n): ledger.add(7)
    assert not ledger.trouble

def test_two_downloads_count_at_once(tmp_path):
    context = multiprocessing.get_context('fork')
    both = [context.Process(target=_count_up, args=(200,)) for _ in range(2)]
    for p in both: p.start()
    for p in both: p.join()
    ledger = _Ledger(INaturalist())
    ledger.limits = (2*200*7, 3600, 'an hour'),
    with pytest.raises(sources.SourceError, match='an hour'): ledger.check()
    ledger.limits = (2*200*7 + 1, 3600, 'an hour'),
    ledger.check()

@pytest.fixture
def tables(server, tmp_path):
    "iNaturalist's tables, with the server's photographs."
    ids = server.ids('grizzly')
    taxa = [('901', '48460/1', '10', 'species', 'Ursus arctos', 'true'), ('902', '48460/1/901', '5', 'subspecies', 'Ursus arctos horribilis', 'true'),
            ('903', '48460/1', '10', 'species', 'Ursus "maritimus"', 'true')]
    seen = [(f'o{i}', '7', '1.0', '2.0', '', taxon, grade, day) for i, (taxon, grade, day) in enumerate(
            [('901', 'research', '2024-01-01'), ('902', 'research', '2024-02-01'), ('901', 'needs_id', '2024-01-01'), ('903', 'research', '2024-01-01'),
             ('901', 'research', '')])]
    photos = [(f'p{k}', ids[k], f'o{o}', '7', 'jpg', code, '120', '120', str(position)) for k, (o, code, position) in enumerate(
              [(0, 'CC-BY', 1), (0, 'CC-BY-NC', 0), (1, 'CC0', 0), (2, 'CC-BY', 0), (3, 'CC-BY', 0), (4, 'PD', 0)])]
    heads = {'taxa': 'taxon_id ancestry rank_level rank name active', 'observers': 'observer_id login name',
             'observations': 'observation_uuid observer_id latitude longitude positional_accuracy taxon_id quality_grade observed_on',
             'photos': 'photo_uuid photo_id observation_uuid observer_id extension license width height position'}
    for (name, head), lines in zip(heads.items(), (taxa, [('7', 'ada', 'Ada & Ben'), ('8', 'eve', '')], seen, photos)):
        text = '\n'.join('\t'.join(line) for line in [head.split(), *lines]) + '\n'
        (tmp_path/f'{name}.csv.gz').write_bytes(gzip.compress(text.encode()))
    return tmp_path

def bucket(server, tables, **kwargs): return INaturalistOpenData(tables, base=f'{server.url}/', net=net(), **kwargs)

def test_the_open_data(server, tables):
    ids, source = server.ids('grizzly'), bucket(server, tables)
    assert [r.id for r in source.search('ursus arctos', 99)] == [ids[1], ids[2], ids[5], ids[0]]            # firsts first
    assert [r.id for r in bucket(server, tables, licence=['cc0', 'by']).search('Ursus arctos', 99)] == [ids[2], ids[0]]
    assert [r.id for r in bucket(server, tables, since='2024-01-15').search('Ursus arctos', 99)] == [ids[2]]
    assert [r.id for r in source.search('Ursus "maritimus"', 99)] == [ids[4]]
    assert str(source.count('Ursus arctos')).startswith('4 (1 ') and bucket(server, tables, licence='cc0').count('Ursus arctos').licences == {'cc0': 1}
    res = download('Ursus arctos', n=3, source=source, dest=tables/'images', check=False)
    assert res.words[0].new == 3 and 'iNaturalist Open Data' in str(res) and 'Ursus arctos: its tables do not say what is alive' in str(res) and server.queries == []
    row = next(r for r in rows(tables/'images') if r['id'] == ids[1])
    assert (row['source'], row['photographer'], row['licence'], row['page']) == (
        'inaturalist', 'Ada & Ben', 'CC BY-NC 4.0', 'https://www.inaturalist.org/observations/o0')
    assert 'give its scientific name' in str(download('grizzly', source=source, dest=tables/'images'))

def test_open_data_that_is_not_whole(server, tables):
    whole = (tables/'photos.csv.gz').read_bytes()
    for content in (whole[:-20], whole[:60], b'<html>', gzip.compress(b'a\tb\n'), gzip.compress(b'\xff\xfe'), b''):
        (tables/'photos.csv.gz').write_bytes(content)
        with pytest.raises(DataError, match='photos.csv.gz is damaged') as e: list(bucket(server, tables).search('Ursus arctos', 9))
        assert '\n' not in str(e.value)
    (tables/'photos.csv.gz').unlink()
    with pytest.raises(DataError, match='has no photos.csv.gz'): bucket(server, tables)
    (tables/'photos.csv').write_bytes(gzip.decompress(whole))
    assert len(list(bucket(server, tables).search('Ursus arctos', 9))) == 4

def test_another_place_or_time_is_fetched(server, tmp_path):
    server.days = dict(zip(server.ids('grizzly'), [f'2024-{m:02}-15' for m in range(1, 13)]))
    def fetch(n, **which): return download('grizzly', n=n, source=service(server, INaturalist, **which), dest=tmp_path/'images', check=False).words[0]
    march, spring, alaska = dict(until='2024-03-31'), dict(since='2024-02-01', until='2024-05-31'), dict(place='Alaska, US')
    for which, new, kept in ((march, 3, 3), (march, 0, 3), (spring, 2, 4), (alaska, 4, 4)):
        w = fetch(4, **which)
        assert (w.new, w.kept) == (new, kept)
    assert fetch(4).new == 0 and max(server.asked.values()) == 1 and len(is_whole(tmp_path/'images')) == 9

def test_odd_answers_of_inaturalist(server, tmp_path):
    taxa, living = {'results': [7, {'id': 901, 'name': 'grizzly'}]}, {'results': []}
    odd = [7, None, {}, {'id': 5, 'annotations': 3, 'photos': 3}, {'id': '6', 'annotations': [3], 'photos': [3]}, {'annotations': [{'vote_score': 'x'}], 'photos': [{}]},
           {'id': 7, 'annotations': [{'controlled_attribute_id': [], 'controlled_value_id': {}}], 'photos': [{'license_code': [], 'url': 5}], 'user': 3}]
    for results in (odd, odd[:2], [{'id': 5}]*300):
        server.api_faults = [taxa, living, {'results': results}, living]
        res = download('grizzly', n=5, source=service(server, INaturalist, licence='any'), dest=tmp_path/'images', check=False)
        assert res.words[0].new == 0 and set(res.words[0].refused) <= {'What its source says of it is incomplete.'} and not res.trouble
