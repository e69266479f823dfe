"""Attachments in the web UI: text, PDF, images and sounds, however they get there, and what the model is sent."""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import Open
from .steps import act, answers, ask, attach, questions, ready, send, sent_by, set_modalities, whole

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTES = "The wool of the llama is warm.\n"


def picture() -> bytes:
    """A PNG of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xc0\x60\x30")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def sound() -> bytes:
    """A WAV file of a moment's silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(1600))
    return file.getvalue()


def japanese_pdf(text: str) -> bytes:
    """A PDF whose text is in Shift JIS, in a font that it does not hold: to be read with a table of that encoding."""
    content = f"BT /F1 24 Tf 50 700 Td <{text.encode('shift_jis').hex()}> Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type0 /BaseFont /Ryumin-Light /Encoding /90ms-RKSJ-H /DescendantFonts [6 0 R] >>",
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /Ryumin-Light /FontDescriptor 7 0 R "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (Japan1) /Supplement 2 >> >>",
        "<< /Type /FontDescriptor /FontName /Ryumin-Light /Flags 4 /FontBBox [0 0 1000 1000] /ItalicAngle 0 "
        "/Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 >>",
    ]
    file, places = "%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(file))
        file += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(file)}\n%%EOF"
    return f"{file}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode()


async def print_pdf(browser: Browser, html: str) -> bytes:
    """A PDF as a browser prints it."""
    page = await browser.new_page()
    await page.set_content(html)
    printed = await page.pdf()
    await page.close()
    return printed


async def dispatch(page: Page, kind: str, target: str, *, text: str = "", files: dict[str, str] | None = None) -> None:
    """Paste or drop text or files, which a script has to do: the system's clipboard and pointer carry none here."""
    await page.evaluate(
        """({ kind, target, text, files }) => {
            const data = new DataTransfer();
            if (text) data.setData("text/plain", text);
            for (const [name, content] of Object.entries(files)) data.items.add(new File([content], name));
            const options = { bubbles: true, cancelable: true };
            const event = kind === "paste"
                ? new ClipboardEvent(kind, { ...options, clipboardData: data })
                : new DragEvent(kind, { ...options, dataTransfer: data });
            document.querySelector(target).dispatchEvent(event);
        }""",
        {"kind": kind, "target": target, "text": text, "files": files or {}},
    )


async def test_a_text_file_is_sent_shown_and_kept(open_page: Open, tmp_path: Path) -> None:
    page = await open_page()
    await ready(page)
    notes = tmp_path / "notes.txt"
    notes.write_text(NOTES)
    await attach(page, notes)
    async with sent_by(page) as body:
        await ask(page, "What is warm?")
    assert body["messages"][-1]["content"] == [
        {"type": "text", "text": f'<file name="notes.txt">\n{NOTES}</file>\n\n'},
        {"type": "text", "text": "What is warm?"},
    ]
    assert await page.locator(".composer .file").count() == 0
    await page.reload()
    await ready(page)
    await page.get_by_role("button", name="Show notes.txt").click()
    assert NOTES in await page.locator("pre.preview").inner_text()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Download").click()
    assert Path(await (await waiting.value).path()).read_text() == NOTES
    await page.keyboard.press("Escape")
    await page.get_by_role("dialog").wait_for(state="detached")


async def test_a_file_is_copied_without_the_clipboard_api_which_plain_http_has_not(
    open_page: Open, tmp_path: Path
) -> None:
    page = await open_page()
    await page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await page.reload()
    await ready(page)
    notes = tmp_path / "notes.txt"
    notes.write_text(NOTES)
    await attach(page, notes)
    await page.get_by_role("button", name="Show notes.txt").click()
    await page.get_by_role("button", name="Copy").click()
    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("textbox", name="Message").focus()
    await page.keyboard.press("Control+V")
    assert await page.get_by_role("textbox", name="Message").input_value() == NOTES


async def test_the_model_reads_what_is_attached(open_page: Open, tmp_path: Path) -> None:
    """The server really gets it: a long file makes a long prompt, and a second question takes it from the cache."""
    page = await open_page()
    await ready(page)
    notes = tmp_path / "notes.txt"
    notes.write_text(NOTES * 30)
    await attach(page, notes)
    await ask(page, "What is warm?")
    await ask(page, "And what else?")
    first, second = [await answers(page).nth(n).locator(".cost").inner_text() for n in (0, 1)]
    assert int(first.split("prompt ")[1].split(",")[0]) > 200
    assert int(second.split(", ")[1].split("%")[0]) > 50


async def test_the_text_of_a_pdf_is_sent(open_page: Open, browser: Browser, tmp_path: Path) -> None:
    page = await open_page()
    await ready(page)
    assert not await page.evaluate("performance.getEntriesByType('resource').some(({name}) => name.includes('pdf'))")
    path = tmp_path / "wool.pdf"
    html = "<h1>Wolle und Größe</h1><p style='page-break-after: always'>One &amp; only.</p><p>The second page.</p>"
    path.write_bytes(await print_pdf(browser, html))
    await attach(page, path)
    async with sent_by(page) as body:
        await ask(page, "What is this?")
    text = body["messages"][-1]["content"][0]["text"]
    assert text.split("\n") == [
        '<file name="wool.pdf">',
        "Wolle und Größe",
        "One & only.",
        "",
        "The second page.",
        "</file>",
        "",
        "",
    ]


async def test_a_pdf_in_an_east_asian_encoding_is_read(open_page: Open, tmp_path: Path) -> None:
    page = await open_page()
    await ready(page)
    path = tmp_path / "wool.pdf"
    path.write_bytes(japanese_pdf("羊毛は温かい。"))
    await attach(page, path)
    await page.get_by_role("button", name="Show wool.pdf").click()
    assert await page.locator("pre.preview").inner_text() == "羊毛は温かい。"


async def test_files_that_cannot_be_read_are_refused_with_the_reason(
    open_page: Open, browser: Browser, tmp_path: Path
) -> None:
    page = await open_page()
    await ready(page)
    scan = f"<img src='data:image/png;base64,{base64.b64encode(picture()).decode()}' width=300>"
    files = {
        "program": b"\x7fELF\x02\x01\x01\x00\x00",
        "empty.txt": b"",
        "broken.pdf": b"%PDF-1.4\nnothing",
        "scan.pdf": await print_pdf(browser, scan),
        "photo.png": picture(),
        "sound.wav": sound(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    await page.locator(".composer input[type=file]").set_input_files([tmp_path / name for name in files])
    fault = page.locator(".composer").get_by_role("alert")
    await fault.wait_for()
    assert await fault.locator("p").all_inner_texts() == [
        "program is neither text nor PDF, so the model cannot read it.",
        "empty.txt is empty.",
        "broken.pdf is damaged, or no PDF.",
        "scan.pdf has no text. It may be scanned: pages that are pictures.",
        "photo.png is an image, and this model reads text only.",
        "sound.wav is a sound, and this model cannot hear.",
    ]
    assert await page.locator(".composer .file").count() == 0
    await fault.get_by_role("button", name="Dismiss").click()
    await fault.wait_for(state="detached")


async def test_images_and_sounds_are_sent_to_a_model_that_can_take_them(open_page: Open, tmp_path: Path) -> None:
    page = await open_page()
    await set_modalities(page, vision=True, audio=True)
    await page.reload()
    await ready(page)
    for name, content in (("photo.png", picture()), ("sound.wav", sound())):
        (tmp_path / name).write_bytes(content)
        await attach(page, tmp_path / name)
    async with sent_by(page) as body:
        await send(page, "What do you see and hear?")
    image, heard, text = body["messages"][-1]["content"]
    assert image == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + base64.b64encode(picture()).decode()},
    }
    assert heard["input_audio"] == {"format": "wav", "data": base64.b64encode(sound()).decode()}
    assert text["text"] == "What do you see and hear?"
    # This server's models see nothing, and it says so.
    await answers(page).last.get_by_role("alert").wait_for()
    await page.get_by_role("button", name="Show photo.png").click()
    shown = page.locator("img.preview")
    await shown.wait_for()
    assert await shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Show sound.wav").click()
    seconds = """audio => new Promise((resolve) => {
        if (audio.duration) resolve(audio.duration);
        audio.onloadedmetadata = () => resolve(audio.duration);
        audio.onerror = () => resolve(null);
    })"""
    assert await page.locator("audio").evaluate(seconds) == pytest.approx(0.1)


async def test_dropped_files_are_attached_and_can_be_removed(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    files = {"a.txt": "first", "b.py": "second"}
    await dispatch(page, "dragenter", "main", files=files)
    await page.get_by_text("Drop files to attach them").wait_for()
    await dispatch(page, "drop", "main", files=files)
    chips = page.locator(".composer .file .name")
    await chips.nth(1).wait_for()
    assert await chips.all_inner_texts() == ["a.txt", "b.py"]
    assert await page.get_by_text("Drop files to attach them").count() == 0
    await page.get_by_role("button", name="Remove a.txt").click()
    assert await chips.all_inner_texts() == ["b.py"]
    # A file is a question without a word.
    await page.get_by_role("button", name="Send", exact=True).click()
    await whole(answers(page).last)
    await page.get_by_role("link", name="b.py").wait_for()


async def test_a_long_text_that_is_pasted_is_attached_and_a_short_one_is_not(open_page: Open) -> None:
    page = await open_page()
    await ready(page)
    await page.get_by_role("button", name="Settings").click()
    await page.get_by_role("spinbutton", name="Characters from which").fill("100")
    await page.get_by_role("button", name="Close").click()
    box = "textarea.text"
    await dispatch(page, "paste", box, text="x" * 100)
    assert await page.locator(".composer .file").count() == 0
    await dispatch(page, "paste", box, text="line\r\n" * 30)
    await dispatch(page, "paste", box, text="y" * 101)
    chips = page.locator(".composer .file .name")
    assert await chips.all_inner_texts() == ["Pasted text.txt", "Pasted text 2.txt"]
    await page.get_by_role("button", name="Show Pasted text.txt").click()
    assert await page.locator("pre.preview").text_content() == "line\n" * 30
    await page.keyboard.press("Escape")
    await dispatch(page, "paste", box, files={"from-clipboard.csv": "a;b"})
    await chips.nth(2).wait_for()
    assert await chips.nth(2).inner_text() == "from-clipboard.csv"


async def test_an_edited_question_keeps_its_files_and_an_export_has_them(open_page: Open, tmp_path: Path) -> None:
    page = await open_page()
    await ready(page)
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"This is {name}.")
    await attach(page, tmp_path / "one.txt")
    await attach(page, tmp_path / "two.txt")
    await ask(page, "What is this?")
    question = page.locator("article[data-role=user]").first
    await act(question, "Edit")
    await question.get_by_role("button", name="Remove two.txt").click()
    await question.get_by_role("textbox", name="Edit").fill("And now?")
    async with sent_by(page) as body:
        await question.get_by_role("button", name="Send").click()
        await page.get_by_role("img", name="Version 2 of 2").wait_for()
        await whole(answers(page).last)
    assert [part["text"] for part in body["messages"][-1]["content"]] == [
        '<file name="one.txt">\nThis is one.txt.\n</file>\n\n',
        "And now?",
    ]
    await act(page.locator("article[data-role=user]").first, "Previous version")
    await page.get_by_role("button", name="Show two.txt").wait_for()

    await page.get_by_role("button", name="Settings").click()
    await page.get_by_role("tab", name="Data").click()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Export all conversations").click()
    path = tmp_path / "conversations.json"
    await (await waiting.value).save_as(path)
    (exported,) = json.loads(path.read_text())["conversations"]
    assert sorted(content["data"] for content in exported["contents"]) == ["This is one.txt.", "This is two.txt."]
    other = await open_page()
    await ready(other)
    await other.get_by_role("button", name="Settings").click()
    await other.get_by_role("tab", name="Data").click()
    await other.get_by_role("dialog").locator("input[type=file]").set_input_files(path)
    await other.get_by_text("1 conversation imported.").wait_for()
    await other.get_by_role("button", name="Close").click()
    await other.get_by_role("link", name="What is this?").click()
    await other.get_by_role("button", name="Show two.txt").click()
    assert await other.locator("pre.preview").inner_text() == "This is two.txt."
    assert await questions(other).inner_text() == "What is this?"


async def test_what_is_being_written_stays_while_something_else_is_looked_at(open_page: Open, tmp_path: Path) -> None:
    page = await open_page()
    await ready(page)
    box = page.get_by_role("textbox", name="Message")
    await box.fill("A question that")
    (tmp_path / "notes.txt").write_text(NOTES)
    await attach(page, tmp_path / "notes.txt")
    await page.get_by_role("link", name="Workbench").click()
    await box.wait_for(state="detached")
    await page.get_by_role("link", name="Back to chat").click()
    assert await box.input_value() == "A question that"
    await page.get_by_role("button", name="Remove notes.txt").wait_for()
    await page.reload()
    await ready(page)
    assert await box.input_value() == "A question that"
    await page.keyboard.press("Enter")
    await whole(answers(page).last)
    await page.reload()
    await ready(page)
    assert await box.input_value() == ""


async def test_a_long_file_is_scrolled_within_its_preview(open_page: Open, tmp_path: Path) -> None:
    page = await open_page()
    await ready(page)
    path = tmp_path / "wool.txt"
    path.write_text("".join(f"sheep {n}\n" for n in range(300)))
    await attach(page, path)
    await page.get_by_role("button", name="Show wool.txt").click()
    text = page.locator("pre.preview")
    await text.focus()
    await page.keyboard.press("End")
    await page.wait_for_function("() => document.querySelector('pre.preview').scrollTop > 0")
    await text.evaluate("text => text.scrollTo(0, text.scrollHeight)")
    inside, outside = await text.bounding_box(), await page.get_by_role("dialog").bounding_box()
    assert inside and outside and inside["y"] + inside["height"] < outside["y"] + outside["height"]
