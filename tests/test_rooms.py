"The plan of the house: serving never imports training."
import subprocess, sys

import pytest

@pytest.mark.parametrize('module', ['data', 'sources', 'inference', 'app', 'cli'])
def test_serving_imports_no_training(module):
    code = f"import sys, bearclf.{module}; print(sorted({{m.split('.')[0] for m in sys.modules}} & {{'torch', 'fastai', 'timm', 'pandas', 'matplotlib', 'onnx'}}))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'
