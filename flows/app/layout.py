"""How the page looks, and what happens when something is dropped or clicked."""

import threading
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import gradio as gr

from flows.adapt import DEFAULT_METHOD
from flows.adapt import METHODS as ADAPTED
from flows.app import jobs
from flows.app.jobs import Desk, Many
from flows.personalize import PRIORS
from flows.restore import METHODS
from flows.whole_photos import DEFAULT, LANCZOS, REALESRGAN, Options
from tasks.basics import BadInput
from tasks.data.photo import EXTENSIONS
from tasks.running.interrupts import Stopped, stopped_by
from tasks.weights.file import WeightFile

Said = dict[Any, Any]
"""What the parts of the page are to show."""

Buttons = tuple[gr.Button, gr.Button]
"""What starts a job and what stops it."""

ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "work", "api_visibility": "private"}
# Not through the queue, whose answers come by one stream: a click at the moment in which that closes loses its own.
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
WAITING = 8  # clicks that may wait; more are refused
SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
GREEN = gr.themes.Color(  # of the reports
    *("#eef8f4", "#dff1ea", "#b9e2d3", "#8dd0b9", "#6fcfb2", "#1d8f75", "#0b6b57", "#0a5f4d", "#095243", "#17362d"),
    "#0c241d",
)
THEME = gr.themes.Base(
    primary_hue=GREEN,
    neutral_hue=gr.themes.colors.stone,
    font=SANS,
    font_mono=["ui-monospace", "Menlo", "DejaVu Sans Mono", "monospace"],
    radius_size=gr.themes.sizes.radius_md,
).set(
    body_background_fill="#fbfaf7",
    body_background_fill_dark="#161614",
    block_background_fill="#ffffff",
    block_background_fill_dark="#1e1e1b",
    slider_color="*primary_600",
    slider_color_dark="*primary_400",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_500",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_500",
    button_secondary_background_fill="*block_background_fill",
    button_secondary_border_color="*neutral_400",
    button_secondary_border_color_dark="*neutral_500",
    button_border_width="1px",
)
CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
KNOWS = {  # what a user should know of a method before choosing it
    "gfpgan": "One pass, sharp and quick.",
    "codeformer": "One pass; its fidelity can be chosen.",
    "restoreformer": "One pass.",
    "swinir": "One pass, smooth and faithful.",
    "difface": "SwinIR, then a diffusion prior: minutes a face without a GPU.",
    "dt_bfr_swinir": "DT-BFR's SwinIR, as it was before it is adapted.",
    "pseudo_target": "DT-BFR's SwinIR and a diffusion prior behind it: minutes a face without a GPU.",
    "gen2res": "A diffusion prior, tuned for each photo: very slow without a GPU.",
    "difbfsr": "A diffusion prior that two small networks guide: very slow without a GPU.",
    "demo": "Comes with bfr. One pass of 128 pixels, soft: it has seen rendered faces only.",
}


FAST = "Fast: fewer evaluations of the diffusion prior"
EACH, PERSON = "Each photo by a method", "Learn to know the person first (gen2res)"
ADAPTING = (
    "DT-BFR: the restorer learns how your photos are degraded, from the photos alone, and restores them. "
    "It takes from minutes with a GPU to hours without one."
)


def page(desk: Desk) -> gr.Blocks:
    """The whole page; results go to the desk."""
    with gr.Blocks(title="bfr", analytics_enabled=False, fill_width=False) as blocks:
        gr.HTML(
            "<h1>Restore the faces in your photos</h1><p>Everything stays on this computer: nothing is uploaded "
            "anywhere, and your files are only read.</p>",
            elem_id="title",
            padding=False,
        )
        with gr.Tab("One photo"):
            one_photo(desk, blocks)
        with gr.Tab("An album"):
            an_album(desk, blocks)
        with gr.Tab("Adapt"):
            adapting(desk, blocks)
    blocks.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
    return blocks


# ------------------------------------------------------------------------------------------------- parts
def drop(label: str, *, several: bool) -> gr.File:
    """Where photos are dropped."""
    count: Literal["single", "multiple"] = "multiple" if several else "single"
    kinds = sorted(EXTENSIONS)
    return gr.File(label=label, file_count=count, file_types=kinds, type="filepath", height=150)


def gallery(label: str, kind: str) -> gr.Gallery:
    """Pictures in two columns, whole, hidden as yet; Gradio's button that shares them on the internet left out."""
    return gr.Gallery(
        label=label,
        elem_classes=kind,
        columns=2,
        height="auto",
        object_fit="contain",
        format="png",
        visible=False,
        buttons=["fullscreen"],
        interactive=False,
    )


def note(text: str, kind: str = "") -> str:
    """Something that is said, as HTML."""
    lines = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip())
    return f"<div class='note {kind}'>{lines}</div>" if lines else ""


def wrong(error: BadInput) -> str:
    """What is wrong; of the ways to get weights those that a page has."""
    return note("\n".join(line for line in str(error).splitlines() if "--yes" not in line), "error")


def saying(status: gr.HTML, work: Callable[..., Said]) -> Callable[..., Said]:
    """A handler whose BadInput is said where the status stands."""

    def handler(*given: Any) -> Said:
        try:
            return work(*given)
        except BadInput as error:
            return {status: wrong(error)}

    return handler


STOPPED = "Stopped. What was finished is kept: the same photos and settings go on from there."


def job(desk: Desk, buttons: Buttons, work: Callable[..., Said], given: Sequence[Any], parts: Sequence[Any]) -> None:
    """Let a click on the first button do the work, work(tell, *given), which the second one stops at its next good
    moment. parts: what the work shows, first the status, where BadInput is said."""
    start, stop = buttons

    def key(request: gr.Request) -> str:
        return f"{start._id} {request.session_hash}"

    def begun(request: gr.Request) -> Said:
        desk.stops[key(request)] = threading.Event()
        shown_stop = gr.update(visible=True, value="Stop", interactive=True)
        return {start: gr.update(interactive=False), stop: shown_stop, parts[0]: ""}

    def worked(request: gr.Request, progress: gr.Progress = gr.Progress(), *given: Any) -> Said:  # noqa: B008
        try:
            with stopped_by(desk.stops[key(request)]):
                return work(telling(progress), *given)
        except BadInput as error:
            return {parts[0]: wrong(error)}
        except Stopped:
            return {parts[0]: note(STOPPED)}

    def ended(request: gr.Request) -> Said:
        desk.stops.pop(key(request), None)
        return {start: gr.update(interactive=True), stop: gr.update(visible=False)}

    def stopping(request: gr.Request) -> Said:
        if event := desk.stops.get(key(request)):
            event.set()
        return {stop: gr.update(value="Stopping …", interactive=False)}

    asked = start.click(begun, None, [start, stop, parts[0]], **AT_ONCE)
    done = asked.then(worked, [*given], [*parts], show_progress_on=parts[0], **ONE_AT_A_TIME)
    done.then(ended, None, [start, stop], **AT_ONCE)
    stop.click(stopping, None, stop, **AT_ONCE)


def buttons(label: str = "", *, is_first: bool = True) -> Buttons:
    """What starts a job, and what stops it while it runs. is_first: the main one of its tab; others are hidden."""
    start = gr.Button(label, variant="primary") if is_first else gr.Button(visible=False, size="md")
    return start, gr.Button("Stop", visible=False, elem_classes="stop", size="lg" if is_first else "md")


def telling(progress: gr.Progress) -> jobs.Tell:
    return lambda what, done, total: progress(done / total if total else None, desc=what.replace("_", " "))


def method_choice(desk: Desk, blocks: gr.Blocks) -> tuple[gr.Dropdown, gr.Slider, gr.Checkbox]:
    """The method, with what it needs below it, and where they apply CodeFormer's fidelity and the fast variant."""
    method = model_choice(desk, blocks, "Method", METHODS, DEFAULT, jobs.lacking)
    fidelity = gr.Slider(0, 1, 0.5, step=0.05, label="Fidelity: 0 looks best, 1 is nearest to the photo", visible=False)
    fast = gr.Checkbox(label=FAST, visible=False)

    def chosen(name: str) -> Said:
        return {
            fidelity: gr.update(visible=name == "codeformer"),
            fast: gr.update(visible=jobs.has_fast(name), value=False),
        }

    method.change(chosen, method, [fidelity, fast], **AT_ONCE)
    return method, fidelity, fast


def model_choice(
    desk: Desk,
    blocks: gr.Blocks,
    label: str,
    names: Iterable[str],
    default: str,
    lacking: Callable[[str], Sequence[WeightFile]],
) -> gr.Dropdown:
    """One of the names that the commands have as well, and below it what it lacks, to be fetched after a yes."""
    choice = gr.Dropdown(list(names), value=default, label=label)
    about, get = gr.HTML(padding=False), buttons(is_first=False)

    def chosen(name: str) -> Said:
        said, offer = offered(lacking(name), KNOWS.get(name, ""))
        return {about: said, get[0]: offer}

    def fetched(tell: jobs.Tell, name: str) -> Said:
        jobs.get_weights(lacking(name), tell)
        return chosen(name)

    parts = [about, get[0]]
    gr.on([blocks.load, choice.change], chosen, choice, parts, **AT_ONCE)
    job(desk, get, fetched, [choice], parts)
    return choice


def offered(missing: Sequence[WeightFile], known: str = "") -> tuple[str, Any]:
    """What is said of weights that are not here, and of the button that fetches them after a yes."""
    lines = [f"{file.place} is not here yet ({file.licence}; from {urlsplit(file.url).netloc})" for file in missing]
    terms = "its terms" if len(missing) == 1 else "their terms"
    offer = gr.update(visible=bool(missing), value=f"I agree with {terms}: fetch {jobs.size_of(missing)}")
    return note("\n".join([known, *lines]), "quiet"), offer


# ------------------------------------------------------------------------------------------------- one photo
def one_photo(desk: Desk, blocks: gr.Blocks) -> None:
    """A photo, what is found in it, and what becomes of it."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            photo = drop("Photo", several=False)
            method, fidelity, fast = method_choice(desk, blocks)
            strength = gr.Slider(0, 1, 1, step=0.05, label="Strength of the change")
            with gr.Accordion("More", open=False):
                upscale = gr.Radio([1, 2], value=1, label="Enlarge")
                is_enhanced = gr.Checkbox(label="Enhance the background (Real-ESRGAN)")
                parsing = gr.Checkbox(label="Change nothing but faces and hair (ParseNet)")
                about, agree = gr.HTML(padding=False), buttons(is_first=False)
                min_face = gr.Slider(20, 400, 20, step=5, label="Smallest face, in pixels")
                only_center = gr.Checkbox(label="Only the face nearest to the middle")
            start = buttons("Restore")
        with gr.Column(scale=3, min_width=300):
            status = gr.HTML(
                note("Drop a photo to see the faces in it.", "quiet"), elem_classes="status", padding=False
            )
            slider = gr.ImageSlider(label="Before (left) and after", format="png", visible=False, max_height=620)
            get = gr.DownloadButton("Download the photo", visible=False)
            faces = gallery("Faces, before and after", "pairs")
            seen = gr.Image(label="Faces found", format="png", interactive=False, visible=False, buttons=["fullscreen"])

    def options(
        strength: float, upscale: Literal[1, 2], is_enhanced: bool, parsing: bool, min_face: float, only_center: bool
    ) -> Options:
        chosen = {"strength": strength, "upscale": upscale, "min_face": min_face, "only_center": only_center}
        return extras(is_enhanced, parsing).model_copy(update={**chosen, "keep_crops": True})

    def looked(file: str | None, name: str, *given: Any) -> Said:
        cleared: Said = {part: gr.update(visible=False) for part in (slider, get, faces, seen)}
        if file is None:
            return cleared | {status: note("Drop a photo to see the faces in it.", "quiet")}
        found = jobs.look(Path(file), name, options(*given))
        return cleared | {seen: gr.update(value=found.picture, visible=True), status: note(found.text)}

    def restored(tell: jobs.Tell, file: str | None, name: str, w: float, is_fast: bool, *given: Any) -> Said:
        if file is None:
            raise BadInput("Drop a photo first.")
        fidelity = w if name == "codeformer" else None
        done = jobs.restore_one(desk, Path(file), name, options(*given), fidelity, is_fast, tell)
        return {
            slider: gr.update(value=(done.before, done.after), visible=True),
            faces: gr.update(value=done.faces, visible=bool(done.faces)),
            get: gr.update(value=str(done.file), visible=True),
            seen: gr.update(visible=False),
            status: note(done.text),
        }

    settings, outputs = (
        [strength, upscale, is_enhanced, parsing, min_face, only_center],
        [status, slider, get, faces, seen],
    )
    photo.change(saying(status, looked), [photo, method, *settings], outputs, show_progress_on=status, **ONE_AT_A_TIME)
    job(desk, start, restored, [photo, method, fidelity, fast, *settings], outputs)

    def chosen(is_enhanced: bool, parsing: bool) -> Said:
        said, offer = offered(jobs.lacking_for(extras(is_enhanced, parsing)))
        return {about: said, agree[0]: offer}

    def fetched(tell: jobs.Tell, is_enhanced: bool, parsing: bool) -> Said:
        jobs.get_weights(jobs.lacking_for(extras(is_enhanced, parsing)), tell)
        return chosen(is_enhanced, parsing)

    more, parts = [is_enhanced, parsing], [about, agree[0]]
    gr.on([each.change for each in more], chosen, more, parts, **AT_ONCE)
    job(desk, agree, fetched, more, parts)


def extras(is_enhanced: bool, parsing: bool) -> Options:
    """The options that need networks of their own."""
    return Options(background=REALESRGAN if is_enhanced else LANCZOS, parsing=parsing)


# ----------------------------------------------------------------------------------------------- many photos
def results(hint: str) -> tuple[gr.HTML, gr.DownloadButton, gr.DownloadButton, gr.Gallery]:
    """Where several results are shown: what was done, all of them to download, the report, the photos."""
    status = gr.HTML(note(hint, "quiet"), elem_classes="status", padding=False)
    with gr.Row():
        archive = gr.DownloadButton("Download all", visible=False)
        report = gr.DownloadButton("Download the report", visible=False)
    return status, archive, report, gallery("Results", "results")


def shown(parts: Sequence[Any], done: Many) -> Said:
    """What the parts of `results` show."""
    status, archive, report, gallery = parts
    return {
        status: note(done.text),
        archive: gr.update(value=str(done.archive), visible=True),
        report: gr.update(value=str(done.page) if done.page else None, visible=done.page is not None),
        gallery: gr.update(value=done.shown, visible=True),
    }


def an_album(desk: Desk, blocks: gr.Blocks) -> None:
    """Several photos, restored by a method, or by a prior that has learnt to know the person."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            photos = drop("Photos to restore", several=True)
            way = gr.Radio([EACH, PERSON], value=EACH, label="How")
            with gr.Column() as by_method:
                method, fidelity, fast = method_choice(desk, blocks)
            with gr.Column(visible=False) as by_person:
                album = drop("About 20 clean photos of the same person", several=True)
                prior = model_choice(desk, blocks, "Prior", PRIORS, "gen2res", jobs.lacking_to_know)
                steps = gr.Slider(10, 5000, 300, step=10, label="Steps of training: more are better and take longer")
            start = buttons("Restore all")
        with gr.Column(scale=3, min_width=300):
            parts = results("Drop photos and choose how to restore them. What becomes of them is shown here.")

    def restored(
        tell: jobs.Tell,
        files: list[str] | None,
        way: str,
        name: str,
        w: float,
        is_fast: bool,
        album: list[str] | None,
        prior: str,
        steps: int,
    ) -> Said:
        photos = [*map(Path, files or [])]
        if way == PERSON:
            done = jobs.personalize_on(desk, [*map(Path, album or [])], photos, prior, steps, tell)
        else:
            fidelity = w if name == "codeformer" else None
            done = jobs.restore_many(desk, photos, name, Options(), fidelity, is_fast, tell)
        return shown(parts, done)

    def chosen(way: str) -> Said:
        return {by_method: gr.update(visible=way == EACH), by_person: gr.update(visible=way == PERSON)}

    way.change(chosen, way, [by_method, by_person], **AT_ONCE)
    job(desk, start, restored, [photos, way, method, fidelity, fast, album, prior, steps], parts)


def adapting(desk: Desk, blocks: gr.Blocks) -> None:
    """A restorer, adapted to photos without ground truth."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            photos = drop("Photos of one camera or scanner", several=True)
            method = model_choice(desk, blocks, "Restorer", ADAPTED, DEFAULT_METHOD, jobs.lacking_to_adapt)
            fast = gr.Checkbox(label=FAST)
            with gr.Accordion("More", open=False):
                real = drop("Clean photos of your own, in place of FFHQ's: what real faces look like", several=True)
            start = buttons("Adapt")
        with gr.Column(scale=3, min_width=300):
            parts = results(ADAPTING)

    def adapted(tell: jobs.Tell, files: list[str] | None, name: str, is_fast: bool, clean: list[str] | None) -> Said:
        photos, real = ([*map(Path, some or [])] for some in (files, clean))
        return shown(parts, jobs.adapt_to(desk, photos, real, name, is_fast, tell))

    job(desk, start, adapted, [photos, method, fast, real], parts)
