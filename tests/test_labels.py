"Labels and the tables that give them: odd names, both slashes, either form of Unicode."
import unicodedata

import pytest

from bearclf.labels import as_label, label_name, read_corrections, read_labels_csv
from bearclf.pictures import DataError

def test_label_names():
    assert label_name(' black  bear ') == 'black_bear'
    for bad in ('', '  ', '../../x', 'a/b', 'a\\b', 'a;b', '.hidden'):
        with pytest.raises(DataError): label_name(bad)

@pytest.mark.parametrize('form', ['NFC', 'NFD'])
@pytest.mark.parametrize('slash', ['/', '\\'])
def test_a_table_from_another_system(tmp_path, form, slash):
    name = unicodedata.normalize('NFC' if form == 'NFD' else 'NFD', 'Bären')
    (tmp_path/name).mkdir()
    (tmp_path/name/'1.jpg').touch()
    (tmp_path/'labels.csv').write_text(f"file,labels\n{unicodedata.normalize(form, 'Bären')}{slash}1.jpg,grizzly\n", encoding='utf-8')
    assert read_labels_csv(tmp_path) == {tmp_path/name/'1.jpg': ('grizzly',)}

@pytest.mark.parametrize('name', ['..\\..\\x.jpg', 'C:\\x.jpg', '/etc/passwd', 'a/../../x.jpg'])
def test_no_line_leads_out_of_the_set(tmp_path, name):
    (tmp_path/'labels.csv').write_text(f'file,labels\n{name},a\n')
    with pytest.raises(DataError, match='not a file below'): read_labels_csv(tmp_path)

@pytest.mark.parametrize('line, why', [('a.jpg,bear,fox', "line 2 has 'fox' after the last column"), ('a.jpg,bear,,', None), (',\na.jpg,bear', None), (' , \n\na.jpg,bear', None)])
def test_cells_beyond_the_last_and_empty_lines(tmp_path, line, why):
    (tmp_path/'a.jpg').touch()
    (tmp_path/'labels.csv').write_text(f'file,labels\n{line}\n')
    if why:
        with pytest.raises(DataError, match=why): read_labels_csv(tmp_path)
    else: assert read_labels_csv(tmp_path) == {tmp_path/'a.jpg': ('bear',)}

def test_a_table_with_semicolons_between_columns(tmp_path):
    (tmp_path/'labels.csv').write_text('file;labels\na.jpg;bear\n')
    with pytest.raises(DataError, match='a comma between them'): read_labels_csv(tmp_path)

def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(DataError) as e: read_corrections(tmp_path/'none.csv')
    assert str(e.value) == f'{tmp_path}/none.csv can not be read (No such file or directory).'

def test_other_is_other_however_it_is_written():
    assert {as_label(n) for n in ('other', 'Other', ' OTHER ')} == {'other'}
