"use strict";
(() => {
	const one = (selector) => document.querySelector(selector);
	const all = (selector, below = document) => [...below.querySelectorAll(selector)];
	document.documentElement.classList.add("scripted");

	// What is said twice has to change for a screen reader to say it again.
	const say = (text) => {
		const said = one("#said");
		said.textContent = said.textContent === text ? text + "\u00a0" : text;
	};

	// Where the clipboard is not for us, a selection is copied the old way.
	const write = async (text) => {
		try {
			await navigator.clipboard.writeText(text);
			return true;
		} catch {
			const area = document.createElement("textarea");
			area.className = "unseen";
			area.value = text;
			const was = document.activeElement;
			document.body.append(area);
			area.select();
			const done = document.execCommand("copy");
			area.remove();
			was?.focus();
			return done;
		}
	};

	const copy = async (button) => {
		const done = await write(button.dataset.copy);
		if (!done) {
			getSelection().selectAllChildren(button.parentElement.querySelector("code"));
		}
		say(done ? "Copied " + button.dataset.copy : "Not copied. The line is selected.");
		button.textContent = done ? "Copied" : "Selected";
		button.classList.toggle("done", done);
		clearTimeout(button.timer);
		button.timer = setTimeout(() => {
			button.textContent = "Copy";
			button.classList.remove("done");
		}, 2000);
	};
	document.addEventListener("click", (event) => {
		const button = event.target.closest(".copy");
		if (button) copy(button);
	});

	const input = one("#q");
	if (!input) return;
	const items = all(".item");
	const total = items.length;
	let later;
	const filter = () => {
		const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
		let found = 0;
		for (const item of items) {
			const text = item.dataset.text.toLowerCase();
			item.hidden = !words.every((word) => text.includes(word));
			if (!item.hidden) found++;
		}
		for (const section of all("section[aria-labelledby]")) {
			const left = all(".item:not([hidden])", section).length;
			section.hidden = words.length > 0 && left === 0;
			section.querySelector(".count").textContent = left;
		}
		const text = (words.length ? found + " of " : "") + total + (total === 1 ? " resource" : " resources");
		one("#found").textContent = text;
		one("#nothing").hidden = words.length === 0 || found > 0;
		clearTimeout(later);
		later = setTimeout(() => say(text), 500);
	};
	const clear = () => {
		input.value = "";
		filter();
	};

	input.addEventListener("input", filter);
	input.form.addEventListener("submit", (event) => event.preventDefault());
	one("#all").addEventListener("click", (event) => {
		event.preventDefault();
		clear();
		input.focus();
	});
	document.addEventListener("keydown", (event) => {
		const typing = event.target.closest("input, textarea, [contenteditable]");
		if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
			event.preventDefault();
			input.focus();
			input.select();
		} else if (event.key === "Escape" && event.target === input) {
			if (input.value) clear();
			else input.blur();
		}
	});
})();
