"A careful way to the network, against a server that misbehaves."
import socket

import pytest

from bearclf import network
from bearclf.download import download
from server import hasty, is_whole, net, picture, service

@pytest.mark.parametrize('fault, times, why', [
    ('busy-a-second', 1, ''), ('busy', 3, ''), ('busy', 4, 'answered 429'), ('broken', 3, ''), ('broken', 4, 'answered 500'), ('gone', 1, 'answered 404'),
    ('cut', 1, ''), ('cut', 4, 'broke off'), ('stall', 1, ''), ('stall', 4, 'fell silent'), ('drip', 1, 'was not done after 1 seconds'),
    ('html', 1, 'not a picture'), ('empty', 1, 'is empty'), ('half-a-picture', 1, 'damaged or cut short'),
    ('too-large', 1, 'more than 200,000 bytes'), ('huge-by-its-header', 1, 'more than 200,000 bytes'),
    ('endless', 1, 'more than 200,000 bytes'), ('endless-error', 1, ''),
    ('wrong-type', 1, ''), ('redirect-here', 1, ''),
    ('redirect-other-host', 1, 'private network'),
    ('redirect-private', 1, 'private network'), ('redirect-metadata', 1, 'private network'), ('redirect-file', 1, 'not one of the web'),
    ('redirect-loop', 6, 'without end'), ('redirect-no-dns', 1, 'can not be found')])
def test_a_photograph_in_trouble(server, tmp_path, fault, times, why):
    bad = server.ids('grizzly')[2]
    server.faults[bad] = [fault]*times
    res = download('grizzly', n=6, source=service(server, net=hasty(fault)), dest=tmp_path/'images', check=False)
    files = is_whole(tmp_path/'images')
    assert len(files) == 6 and res.words[0].new == 6
    assert any(f.stem == f'wikimedia-{bad}' for f in files) is (why == '')
    assert [why in w for w in res.words[0].refused] == ([True] if why else []) and (why in str(res))
    if fault == 'redirect-other-host': assert server.asked['78'] == 0  # not a word was sent there

def test_a_host_that_wants_to_be_left_alone_is(server, tmp_path):
    server.n = 60
    for i in server.ids('grizzly')[10:]: server.faults[i] = ['busy-an-hour']
    res = download('grizzly', n=40, source=service(server), dest=tmp_path/'images', check=False)
    assert res.words[0].new == 10 and res.words[0].refused.total() == 50 and sum(server.asked.values()) <= 10 + network.PER_HOST
    assert '50 refused: Its server answered 429 Too Many Requests and asks to wait 60 minutes.' in str(res) and '10 of the 40 wanted' in str(res)

def test_an_allowed_host_is_reached_by_its_name_only(server):
    assert net(allow=['localhost']).get(f'http://localhost:{server.server_address[1]}/photo/l/1.jpg') == picture('1', server.side)
    for host in ('http://localhost', 'https://localhost', 'http://2130706433', 'http://127.1', 'http://[::ffff:127.0.0.1]'):
        with pytest.raises(network.NetError, match='private network'): net().get(f'{host}:{server.server_address[1]}/photo/l/2.jpg')
    assert server.asked['2'] == 0

def test_another_host_is_followed_to(server, tmp_path):
    bad = server.ids('grizzly')[0]
    server.faults[bad] = ['redirect-other-host']
    res = download('grizzly', n=1, source=service(server, net=net(allow=['127.0.0.1', 'localhost'])), dest=tmp_path, check=False)
    assert res.ok and server.asked['78'] == 1 and is_whole(tmp_path)[0].read_bytes() == picture('78', server.side)

@pytest.mark.parametrize('address, refused', {
    '127.0.0.1': True, '0.0.0.0': True, '10.1.2.3': True, '172.16.0.1': True, '192.168.1.1': True, '169.254.169.254': True, '100.64.0.1': True,
    '224.0.0.1': True, '255.255.255.255': True, '::': True, '::1': True, '::127.0.0.1': True, '::ffff:10.0.0.1': True, 'fe80::1%eth0': True,
    'fc00::1': True, 'ff02::1': True, '2002:7f00:1::': True, '64:ff9b::10.0.0.1': True, '64:ff9b::8.8.8.8': False, '8.8.8.8': False,
    '2606:4700:4700::1111': False, '::ffff:8.8.8.8': False}.items())
def test_which_addresses_are_refused(address, refused):
    if not refused: return network._check_address('a.host', address, ())
    with pytest.raises(network.NetError, match='private network'): network._check_address('a.host', address, ())
    network._check_address('a.host', address, {'a.host'})

@pytest.mark.parametrize('host', ['10.0.0.1', '[fc00::1]', '169.254.169.254'])
def test_a_private_address_is_not_even_knocked_at(host, monkeypatch):
    monkeypatch.setattr(socket.socket, 'connect', lambda *args: pytest.fail('it was'))
    with pytest.raises(network.NetError, match='private network'): net().get(f'http://{host}/bear.jpg')

def test_a_name_that_comes_to_stand_for_a_private_address(server, monkeypatch):
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, 'getaddrinfo', lambda host, *args, **kw: real('127.0.0.1' if host == 'rebound.example' else host, *args, **kw))
    with pytest.raises(network.NetError, match='private network'): net().get(f'http://rebound.example:{server.server_address[1]}/photo/l/5.jpg')
    assert server.asked['5'] == 0

def test_at_most_two_at_a_time_where_that_is_the_rule(server, tmp_path, monkeypatch):
    monkeypatch.setattr(network, '_FEWER', {'127.0.0.1': 2})
    server.latency = .02
    download('grizzly', n=12, source=service(server, net=net()), dest=tmp_path, check=False)
    assert server.busiest <= 2
