"What a notebook is the wrong place for: hostile files, links in circles, many processes at once, and that `verify` never loses a file."
import shutil

import pytest

from bearclf import data
from bearclf.data import Labelled, read_labels
from bearclf.labels import refuse_twins, unfit_label
from bearclf.pictures import DataError, PictureError, sha256
from helpers import one_sentence, photo

# ---- opening

# ---- folders and labels

def test_labels_of_folders_and_table(folder):
    (folder/'labels.csv').write_text('note,file,labels\n,both/d.jpg, grizzly ;black bear;grizzly\n\nx,"both/e, f.jpg",\n', encoding='utf-8-sig')
    got = {o.file.relative_to(folder).as_posix(): o.labels for o in read_labels(folder)}
    assert got == {'black bear/sub/c.jpg': ('black bear',), 'both/d.jpg': ('grizzly', 'black bear'), 'both/e, f.jpg': (), 'grizzly/a.jpg': ('grizzly',), 'grizzly/b.jpg': ('grizzly',)}

@pytest.mark.parametrize('table,why', [
    ('file,label\n', 'columns'), ('', 'columns'), ('file,labels\nboth/d.jpg,a\nboth/gone.jpg,a\n', 'line 3 names both/gone.jpg'),
    ('file,labels\nboth/d.jpg,a\nboth/./d.jpg,b\n', 'line 3 .*second time'), ('file,labels\n../x.jpg,a\n', 'line 2: .*not a file below'),
    ('file,labels\n/etc/passwd,a\n', 'not a file below'), ('file,labels\n,a\n', 'not a file below'), ('file,labels\nboth,a\n', 'does not exist')])
def test_bad_tables(folder, table, why):
    (folder/'labels.csv').write_text(table)
    with pytest.raises(DataError, match=why) as e: read_labels(folder)
    one_sentence(e, 'labels.csv')

def test_tables_that_are_no_text(folder):
    for raw in (b'file,labels\n\xff\xfe,a\n', b'file,labels\n' + b'"' + b'a'*200_000):
        (folder/'labels.csv').write_bytes(raw)
        with pytest.raises(DataError) as e: read_labels(folder)
        one_sentence(e, 'labels.csv')

def test_a_picture_without_label(folder):
    shutil.copy(folder/'both'/'d.jpg', folder/'stray.jpg')
    with pytest.raises(DataError, match='stray.jpg'): read_labels(folder)
    (folder/'labels.csv').write_text('file,labels\nstray.jpg,grizzly\n')
    assert Labelled(folder/'stray.jpg', ('grizzly',)) in read_labels(folder)

def test_the_hash_is_of_contents_and_labels_only(folder, tmp_path):
    was = data.data_hash(read_labels(folder))
    moved = tmp_path/'moved'
    shutil.copytree(folder, moved)
    (moved/'grizzly'/'a.jpg').rename(moved/'grizzly'/'z.jpg')
    assert data.data_hash(read_labels(moved)) == was
    (moved/'grizzly'/'z.jpg').rename(moved/'both'/'z.jpg')
    assert data.data_hash(read_labels(moved)) != was

# ---- training's first look, and the summary

def test_check_trainable(folder):
    with pytest.raises(DataError, match='"?black bear"? has only one') as e: data.check_trainable(read_labels(folder))
    one_sentence(e)
    photo(7).save(folder/'black bear'/'another.jpg')
    data.check_trainable(read_labels(folder))
    (folder/'grizzly'/'b.jpg').write_text('no')
    with pytest.raises(DataError, match='1 of 6 pictures .*b.jpg') as e: data.check_trainable(read_labels(folder))
    one_sentence(e)
    with pytest.raises(DataError, match='exactly one'): data.check_trainable([*read_labels(folder), Labelled(folder/'grizzly'/'a.jpg', ())], single=True)
    with pytest.raises(DataError, match='same label'): data.check_trainable(read_labels(folder)[-2:])
    with pytest.raises(DataError, match='at least one kind'): data.check_trainable([Labelled(f, ('other',)*(i % 2)) for i, (f, _) in enumerate(read_labels(folder))])

def test_labels_that_say_the_same(folder):
    pictures = read_labels(folder)
    by_turns = [Labelled(o.file, ('a', 'b')[::1 if i % 2 else -1]) for i, o in enumerate(pictures)]
    with pytest.raises(DataError, match='same label'): data.check_trainable(by_turns)
    comma = [Labelled(o.file, ('grizzly, teddys',) if i < 2 else ('grizzly',) if i % 2 else ('teddys',)) for i, o in enumerate(pictures*2)]
    with pytest.raises(DataError, match='split by a semicolon') as e: data.check_trainable(comma)
    one_sentence(e)
    for label in ('grizzly\u200d', 'griz\u200czly', 'GRIZZLY'): # they look alike
        with pytest.raises(DataError, match='differ only'): refuse_twins(['grizzly', label])
    for label in ('\u200d', 'griz\xadzly', 'grizzly\u200b'): assert unfit_label(label)
    assert not unfit_label('خرس\u200cسیاه') and not unfit_label('ツキノワ\u3000グマ')

def test_one_picture_under_two_labels_and_an_empty_label(folder):
    photo(7).save(folder/'black bear'/'another.jpg')
    (folder/'polar').mkdir()
    with pytest.raises(DataError, match='polar has no pictures') as e: data.check_trainable(read_labels(folder), path=folder)
    one_sentence(e)
    (folder/'polar').rmdir()
    data.check_trainable(read_labels(folder), path=folder)
    shutil.copy(folder/'grizzly'/'a.jpg', folder/'black bear'/'again.jpg')
    with pytest.raises(DataError, match='same picture under different labels') as e: data.check_trainable(read_labels(folder))
    one_sentence(e)

@pytest.mark.parametrize('label', ['error', 'Labels', 'black;brown'])
def test_labels_that_would_break_a_table(folder, label):
    (folder/'grizzly').rename(folder/label)
    with pytest.raises(DataError, match='rename its folder') as e: data.check_trainable(read_labels(folder))
    one_sentence(e)

def test_labels_are_compared_without_case(folder):
    (folder/'Other').mkdir()
    photo(8).save(folder/'Other'/'x.jpg')
    assert {l for o in read_labels(folder) for l in o.labels} == {'grizzly', 'black bear', 'both', 'other'}
    (folder/'labels.csv').write_text('file,labels\nboth/d.jpg,Grizzly\n')
    with pytest.raises(DataError, match='Grizzly and grizzly differ only') as e: read_labels(folder)
    one_sentence(e)

@pytest.mark.parametrize('twin', ['Grizzly', 'ｇｒｉｚｚｌｙ', 'grizzly ', 'BLACK_BEAR', 'black  bear'])
def test_folders_that_would_become_one_label(folder, twin):
    (folder/twin).mkdir()
    photo(8).save(folder/twin/'x.jpg')
    with pytest.raises(DataError, match='differ only') as e: read_labels(folder)
    one_sentence(e)

def test_corrections_bring_no_twins(folder, tmp_path):
    table = tmp_path/'corrections.csv'
    table.write_text(f"sha256,labels\n{sha256(folder/'grizzly'/'a.jpg')},GRIZZLY\n")
    with pytest.raises(DataError, match='GRIZZLY and grizzly differ only'): read_labels(folder, table)

def test_summary(folder):
    (folder/'labels.csv').write_text('file,labels\nboth/d.jpg,grizzly;black bear\n"both/e, f.jpg",\n')
    s = data.summary(folder)
    assert (s.pictures, s.several, s.none) == (5, 1, 1)
    assert [tuple(l) for l in s.labels] == [('black bear', 2, .4, (160, 120)), ('grizzly', 3, .6, (160, 120))]
    assert 'black bear         2  40.0%    160 x 120' in str(s) and '<td>60.0%</td>' in s._repr_html_()
    (folder/'grizzly'/'a.jpg').write_text('no')
    with pytest.raises(PictureError, match='a.jpg'): data.summary(folder)

# ---- the house's rule


def test_corrections_by_the_contents_of_a_photograph(drawn, tmp_path):
    shutil.copytree(drawn, root := tmp_path/'set')
    first = next(p for p in read_labels(root) if p.labels == ('grizzly',))
    table = tmp_path/'mended.csv'
    table.write_text(f'sha256,labels,reason\n{sha256(first.file).upper()},teddys,a toy\n{"0"*64},other,not here\n')
    first.file.rename(moved := root/'black_bear'/f'renamed{first.file.suffix}') # name and folder count for nothing
    assert dict(read_labels(root, table))[moved] == ('teddys',)
    table.write_text(f'sha256,labels\n,\n{sha256(moved)},teddys\n,\n') # as Excel writes empty rows
    assert dict(read_labels(root, table))[moved] == ('teddys',)
    for text, words in [('', 'lacks the columns'), ('sha256,labels\n', 'no lines'), ('sha256,labels\nxyz,other\n', 'line 2'),
                        (f'sha256,labels\n{"0"*64},other;grizzly\n', 'stands alone'), (f'sha256,labels\n{"0"*64},other\n', 'names none of'),
                        (f'sha256,labels\n{"0"*64},other\n{"0"*64},grizzly\n', 'line 3'),
                        (f'sha256,labels\n{"0"*64},grizzly,teddys\n', 'after the last column'), (f'sha256,labels\n{"0"*64}\n', 'no second column')]:
        table.write_text(text)
        with pytest.raises(DataError, match=words): read_labels(root, table)
    with pytest.raises(DataError, match='can not be read'): read_labels(root, tmp_path/'gone.csv')
