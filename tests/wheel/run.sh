#!/usr/bin/env bash
# The wheel outside the checkout: built, installed into an empty environment, tried from an empty folder as README.md shows.
#
#   tests/wheel/run.sh                    with the Python that runs .venv; under two minutes once uv has the packages
#   tests/wheel/run.sh python3.13         with another one, or a version that uv can find: 3.13
#   tests/wheel/run.sh python3.13 --all   all of the README, and the example in the help of every verb
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
python=${1:-$checkout/.venv/bin/python}
shift || true
uv=$checkout/.venv/bin/uv
command -v "$uv" >/dev/null || uv=uv

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# From a copy: a build leaves folders behind, and would take what they hold into the wheel.
mkdir "$work/source"
tar -C "$checkout" -c --exclude=__pycache__ pyproject.toml README.md LICENSE cli.py spadework.py \
    pipeline training evaluation configs weights | tar -C "$work/source" -x
"$uv" build --quiet --wheel --out-dir "$work" "$work/source"
rm -r "$work/source"
"$uv" venv --quiet --python "$python" "$work/venv"
"$uv" pip install --quiet --python "$work/venv/bin/python" --constraint "$checkout/requirements.lock" "$work"/*.whl

cd "$work"
export PATH=$work/venv/bin:$PATH
unset PYTHONPATH PYTHONDONTWRITEBYTECODE
python --version
spadework --version
spadework --help >/dev/null
spadework recipes list
_SPADEWORK_COMPLETE=bash_source spadework | bash -n
for script in cli spadework; do
    python -c "import $script; assert $script.__file__.startswith('$work'), $script.__file__"
done
python "$checkout/tests/wheel/documented.py" "$checkout/README.md" "$work/here" "$@"
