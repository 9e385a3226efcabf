"""The CUDA C text of an operation over rows, as plain text so that it can be proven without a GPU.

All is computed in the numbers of the computation, C, sums of a row too: few terms of a thread add
up one after another, and threads by twos. Which thread takes what, and in what order sums are
joined, depends on shapes and on the GPU's processors alone (plan.py), so that results never change
from run to run. An element is written by the thread that read it, so that the result may be in the
place of what is read; the lead, which all threads of a row read, is read before that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ...compiling import c_text
from ...compiling.dtypes import C_TYPES, compute_dtype
from ...compiling.gpu import cuda_normal_cdf
from ...compiling.gpu.cuda_reductions import WARPS
from ..skeleton import LEAD, Function, Rows, names
from . import cuda_frame
from . import plan as plans
from .plan import Form

CHUNK = 32  # items of a thread that add up one after another
RESIDENT, FEWER = 1024, 512
"""Threads that a processor of the GPU must be able to hold: each then has 64 registers, or 128."""


def symbol(rows: Rows) -> str:
    """What the text calls the kernel."""
    return f"onepass_{rows.name}"


def join_source(dtype: str) -> str:
    """The text of the kernel that adds up the sums of columns: (sums, added, count, period)."""
    defined = f"typedef {C_TYPES[compute_dtype(dtype)]} C;\n#define JOINED {plans.JOINED}\n"
    return defined + cuda_frame.JOIN


def resident(rows: Rows, dtype: str, form: Form) -> int:
    """Blocks that a processor is to hold: fewer where threads keep two arrays, or a number takes
    two registers or one for itself."""
    few = len(rows.elements) > 1 or dtype != "float32" or form.each == 1
    return max(1, (FEWER if few else RESIDENT) // form.threads)


def source(rows: Rows, dtype: str, form: Form) -> str:
    """A kernel's whole text: (*arrays, *vectors, given, kept, sums, share of an element, *numbers,
    rows, parts, deep, lanes, sub, columns, inner, per, steps, groups); what the operation does not
    have is left out, and a vector may be none."""
    compute = C_TYPES[compute_dtype(dtype)]
    types = {"T": C_TYPES[dtype], "C": compute, "Index": "long long" if form.wide else "int"}
    counts = [len(rows.added), *(len(walk.sums) for walk in rows.walks)]
    numbers = {
        "THREADS": form.threads,
        "RESIDENT": resident(rows, dtype, form),
        "BLOCK": int(form.block),
        "PLANES": int(form.planes),
        "EACH": form.each,
        "KEPT": form.kept,
        "ADDED": len(rows.added),
        "SUMS": max(counts),
        "LEAD": LEAD,
        "CHUNK": CHUNK,
    }
    return (
        "".join(f"typedef {kind} {alias};\n" for alias, kind in types.items())
        + "".join(f"#define {key} {number}\n" for key, number in numbers.items())
        + WARPS
        + _formulas(rows, compute)
        + cuda_frame.HEAD
        + _filled(cuda_frame.KERNEL, _kernel(rows, form) | {"SYMBOL": symbol(rows)})
    )


def _formulas(rows: Rows, compute: str) -> str:
    """The functions that the operation calls, each once."""
    found = [rows.update, *(step.function for step in rows.steps)]
    if rows.store is not None:
        found.append(rows.store.function)
    for walk in rows.walks:
        found += [walk.terms, walk.finish]
        found += [walk.guess.start, walk.guess.better] if walk.guess else []
    text = c_text.PREAMBLE
    if any("normal_cdf" in each.__code__.co_names for each in found):
        text += cuda_normal_cdf.c_function("float64" if compute == "double" else "float32", compute)
    functions = [c_text.device_function(each, compute) for each in dict.fromkeys(found)]
    return f"{text}namespace formulas {{\n{''.join(functions)}}}\n"


def _filled(text: str, words: Mapping[str, str]) -> str:
    """With what stands for each word in capitals."""
    return re.sub(r"\b[A-Z]{4,}\b", lambda found: words.get(found[0], found[0]), text)


def _called(function: Function, makes: Iterable[str]) -> str:
    """The statements that declare what a function makes, and call it with arguments of its names;
    what is both is called `new_` what it was."""
    given, returned = list(names(function)), c_text.names_returned(function)
    text, more = "", []
    for name, made in zip(returned, makes, strict=True):
        if name in given:
            text += f"C {made} = {name};\n"
            given[given.index(name)] = made
        else:
            text += f"C {made};\n"
            more.append(made)
    return f"{text}formulas::{function.__name__}({', '.join([*given, *more])});"


def _kernel(rows: Rows, form: Form) -> dict[str, str]:
    """What stands for the words of the kernel."""
    given = [f"const T *{name}_all" for name in rows.read]
    given += [f"T *{name}_all" for name in rows.arrays[len(rows.read) :]]
    given += [f"const C *{name}_all" for name in rows.vectors]
    given += ["const C *given_all"] * bool(rows.given) + ["C *kept_all"] * bool(rows.kept)
    given += ["C *sums"] * bool(rows.added)
    given += [f"const C {name}" for name in ("share", *rows.numbers)]
    pointers = [
        f"{'const ' * (name in rows.read)}T *{name}_row = {name}_all + start;"
        for name in rows.arrays
    ]
    if form.planes:
        pointers.append("const long long base = groups == 1 ? 0 : row % groups * columns;")
    at = " + base" * form.planes
    pointers += [
        f"const C *{name}_row = {name}_all ? {name}_all{at} : nullptr;" for name in rows.vectors
    ]
    added = cuda_frame.ROWS_ADDED if rows.added and not form.planes else {}
    return {
        "GIVEN": ", ".join(given) + ",",
        "CONSTANTS": _lines(
            f"const C {name} = {float(value)!r};" for name, value in rows.constants.items()
        ),
        "ZEROED": added.get("ZEROED", ""),
        "POINTERS": _lines(pointers),
        "LOADS": _loads(rows),
        "NUMBERS": _lines(
            f"const C {name} = there ? given_all[{k} * rows + row] : C(0);"
            for k, name in enumerate(rows.given)
        ),
        "WALKS": _lines(_walk(rows, form, k) for k in range(len(rows.walks))),
        "WRITTEN": _lines(
            f"if (there && s.lane == 0) kept_all[{k} * rows + row] = {name};"
            for k, name in enumerate(rows.kept)
        ),
        "UPDATE": _update(rows, form),
        "ADDING": added.get("ADDING", ""),
    }


def _loads(rows: Rows) -> str:
    """What a thread keeps of each array, and what it stores."""
    text, kept, rest = "", [], ""
    stored: tuple[str, ...] = () if rows.store is None else rows.store.makes
    if rows.store is not None:
        function, (name,) = rows.store
        read = names(function)
        text += _filled(
            cuda_frame.ITEM.replace("ITEMS", "Item &result"),
            {
                "NAME": "store",
                "VECTORS": _lines(f"const Item {each}_k = item({each}_row, p);" for each in read),
                "BEFORE": "",
                "VALUES": _lines(f"const C {each} = C({each}_k.at[j]);" for each in read),
                "RESULTS": f"{_called(function, (name,))}\nresult.at[j] = T({name});",
                "AFTER": "",
            },
        ).replace("const Place &p", "Index p")
        rest = f"Item some; store(p.at(), some); put({name}_row, p.at(), some);"
    for name in rows.elements:
        text += f"Item {name}_kept[KEPT];\n"
        if name in stored:
            kept += [f"store(p.at(), {name}_kept[k]);", f"put({name}_row, p.at(), {name}_kept[k]);"]
        else:
            kept.append(f"{name}_kept[k] = item({name}_row, p.at());")
    return text + _pass(_lines(kept), rest)


def _pass(kept: str, rest: str, after: str = "", begin: str = "", finish: str = "") -> str:
    """What is done to items that are kept, and to others; after each item, and before and after
    some of the others."""
    words = {"KEPTHERE": kept, "RESTHERE": rest, "AFTER": after, "BEGIN": begin, "FINISH": finish}
    text = cuda_frame.PASS
    if not rest:
        start, end = text.index("#if REST"), text.index("#endif\n") + len("#endif\n")
        text = text[:start] + text[end:]
    return _filled(text, words)


def _item(
    rows: Rows, form: Form, name: str, function: Function, makes: Iterable[str], results: str,
    more: str = "", before: str = "", after: str = "",
) -> str:  # fmt: skip
    """The lambda that calls a function for each element of an item of the arrays that it needs."""
    used, (steps, _) = rows.used(function), rows.needed(function)
    vectors, values = [], [f"const C {each} = C({each}_k.at[j]);" for each in used.arrays]
    for each in used.vectors:
        default = f"C({rows.vectors[each]!r})"
        if form.planes:
            vectors.append(f"const C {each} = {each}_row ? {each}_row[p.column] : {default};")
        else:
            vectors += [
                f"Numbers {each}_k;",
                f"if ({each}_row) {each}_k = *(const Numbers *)({each}_row + p.column);",
                f"else EVERY_ELEMENT {each}_k.at[j] = {default};",
            ]
            values.append(f"const C {each} = {each}_k.at[j];")
    values += [_called(step.function, step.makes) for step in steps]
    values.append(_called(function, [f"new_{each}" for each in makes]))
    items = ", ".join([f"const Item &{each}_k" for each in used.arrays] + [more] * bool(more))
    words = {"NAME": name, "ITEMS": items, "VECTORS": _lines(vectors), "VALUES": _lines(values)}
    return _filled(cuda_frame.ITEM, words | {"BEFORE": before, "RESULTS": results, "AFTER": after})


def _passed(rows: Rows, function: Function) -> tuple[str, str]:
    """The items that such a lambda is given: those that are kept, and others."""
    arrays = rows.used(function).arrays
    kept = [f"{each}_kept[k]" for each in arrays]
    rest = [f"item({each}_row, p.at())" for each in arrays]
    return ", ".join(["p", *kept]), ", ".join(["p", *rest])


def _walk(rows: Rows, form: Form, k: int) -> str:
    """Numbers of the row."""
    walk, name = rows.walks[k], f"walk{k}"
    count = len(walk.sums)
    results = _lines(f"into[{m}] += new_{each};" for m, each in enumerate(walk.sums))
    item = _item(rows, form, name, walk.terms, walk.sums, results, "C *into")
    text = f"C {name}_sums[{count}];\n"
    kept, rest = _passed(rows, walk.terms)
    summed = cuda_frame.SUMMED.replace("WALK", name).replace("COUNT", str(count))
    passed = _pass(
        f"{name}({kept}, {name}_sums);",
        f"{name}({rest}, some);",
        begin=f"C some[{count}];\nALL(i, {count}) some[i] = 0;",
        finish=f"ALL(i, {count}) {name}_sums[i] += some[i];",
    )
    summed = summed.replace("PASS", passed)
    known = _lines(f"const C {each} = {name}_sums[{m}];" for m, each in enumerate(walk.sums))
    if walk.guess is not None:
        number, start, better = walk.guess
        for each in names(start):
            array = each.removesuffix("_lead")
            if array != each:
                text += _lead(rows, array)
        text += f"{_called(start, (number,))}\n"
        better_called = f"{known}\n{_called(better, ('better_guess', 'far_off'))}"
        summed = _filled(
            cuda_frame.GUESSED, {"SUMMED": summed, "BETTER": better_called, "NUMBER": number}
        )
    return f"{text}{item}\n{summed}\n{known}\n{_called(walk.finish, walk.numbers)}"


def _lead(rows: Rows, array: str) -> str:
    stored = rows.store is not None and array in rows.store.makes
    made = "store(k * EACH, some);" if stored else f"some = item({array}_row, k * EACH);"
    return cuda_frame.LEAD.replace("ARRAY", array).replace("MADE", made) + "\n"


def _update(rows: Rows, form: Form) -> str:
    """The result, and terms of sums over columns."""
    makes = rows.written, *rows.added
    results = [f"result.at[j] = T(new_{rows.written});"]
    results += [f"terms[{m}][j] = new_{each};" for m, each in enumerate(rows.added)]
    more = "C (*terms)[EACH]" if rows.added else ""
    put = f"put({rows.written}_row, p.at(), result);"
    text = _item(
        rows, form, "update", rows.update, makes, _lines(results), more, "Item result;", put
    )
    calls = _passed(rows, rows.update)
    if not rows.added:
        return f"{text}\n{_pass(*(f'update({given});' for given in calls))}"
    words = cuda_frame.PLANES_ADDED if form.planes else cuda_frame.ROWS_ADDED
    kept, rest = (
        f"C terms[ADDED][EACH];\nupdate({given}, terms);\n{words.get(way, words['KEPT'])}"
        for given, way in zip(calls, ("KEPT", "REST"), strict=True)
    )
    return f"{text}\n{words.get('BEFORE', '')}\n{_pass(kept, rest, words.get('AFTER', ''))}"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
