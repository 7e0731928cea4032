// overflow.mjs TSV HTML... - does every slide's content fit its slide?
//
// The decks are opened in a real browser. Reported is what stands beyond the
// edge of its slide, code and tables wider than their box, and, in drawings,
// text that leaves the drawing or has become too small to read.
import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import puppeteer from 'puppeteer-core'

// Runs in the browser. Returns { title, faults } for each slide.
function inspect() {
	const edge = { side: 30, top: 20, bottom: 44 }	// bottom: page number
	const readable = 13				// CSS pixels

	const about = (node) => {
		const words = node.textContent.trim().replace(/\s+/g, ' ')
		const name = (node.tagName ? node : node.parentElement).tagName
		return `<${name.toLowerCase()}> "${words.slice(0, 50)}"`
	}
	const beyond = (inner, outer, slack = 1) => {
		const sides = {
			left: outer.left - inner.left, top: outer.top - inner.top,
			right: inner.right - outer.right,
			bottom: inner.bottom - outer.bottom,
		}
		for (const [side, by] of Object.entries(sides))
			if (by > slack)
				return `${Math.round(by)} px beyond the ${side} edge`
		return null
	}
	// What a node covers: a text node its lines, an element its box.
	const boxes = (node) => {
		if (node.nodeType !== Node.TEXT_NODE)
			return [node.getBoundingClientRect()]
		const range = document.createRange()
		range.selectNodeContents(node)
		return [...range.getClientRects()]
	}
	const nodes = (root) => {
		const found = []
		const walker = document.createTreeWalker(root,
			NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT)
		while (walker.nextNode())
			found.push(walker.currentNode)
		return found
	}
	const inDrawing = (node) =>
		(node.tagName ? node : node.parentElement).closest('p svg')

	const contentFaults = (section) => {
		const all = section.getBoundingClientRect()
		const inner = {
			left: all.left + edge.side, right: all.right - edge.side,
			top: all.top + edge.top, bottom: all.bottom - edge.bottom,
		}
		for (const node of nodes(section)) {
			if (inDrawing(node) || !node.textContent.trim() ||
			    (node.tagName ? node : node.parentElement).closest('footer'))
				continue
			for (const box of boxes(node)) {
				const by = beyond(box, inner)
				if (by)
					return [`${about(node)} stands ${by}`]
			}
		}
		return []
	}
	const codeFaults = (section) =>
		[...section.querySelectorAll('pre, table')]
			.filter((e) => e.scrollWidth > e.clientWidth + 1 ||
				e.scrollHeight > e.clientHeight + 1)
			.map((e) => `${about(e)} is larger than its box`)
	const drawingFaults = (section) => {
		const faults = []
		for (const svg of section.querySelectorAll('p svg')) {
			const box = svg.getBoundingClientRect()
			const view = svg.viewBox.baseVal
			const scale = Math.min(box.width / view.width,
				box.height / view.height)
			const x = box.left + (box.width - view.width * scale) / 2
			const y = box.top + (box.height - view.height * scale) / 2
			const seen = { left: x, top: y, right: x + view.width * scale,
				bottom: y + view.height * scale }
			for (const text of svg.querySelectorAll('text')) {
				const by = beyond(text.getBoundingClientRect(), seen)
				const size = scale * parseFloat(
					getComputedStyle(text).fontSize)
				if (by)
					faults.push(`${about(text)} stands ${by}`)
				if (size < readable)
					faults.push(`${about(text)} is only` +
						` ${size.toFixed(1)} px high`)
			}
		}
		return faults
	}

	return [...document.querySelectorAll('section')].map((section) => ({
		title: section.querySelector('h1, h2, h3')?.textContent ?? '(no title)',
		faults: [...contentFaults(section), ...codeFaults(section),
			...drawingFaults(section)],
	}))
}

const files = process.argv.slice(2)
const browser = await puppeteer.launch({
	executablePath: process.env.CHROME_PATH,
	args: ['--disable-gpu',
		...(process.env.CHROME_NO_SANDBOX ? ['--no-sandbox'] : [])],
}).catch((error) => {
	console.error(`overflow: ${process.env.CHROME_PATH} does not start:` +
		` ${error.message.split('\n')[0]}`)
	process.exit(1)
})
let passed = 0, failed = 0
for (const file of files) {
	const deck = basename(file, '.html')
	const page = await browser.newPage()
	await page.setViewport({ width: 1280, height: 720 })
	await page.goto(pathToFileURL(resolve(file)).href)
	await page.evaluate(() => document.fonts.ready)
	const slides = await page.evaluate(inspect)
	for (const [i, slide] of slides.entries()) {
		for (const fault of slide.faults)
			console.log(`FAIL  slides/${deck}.md, slide ${i + 1},` +
				` "${slide.title}":\n      ${fault}`)
		if (slide.faults.length > 0)
			failed++
		else
			passed++
	}
	await page.close()
}
await browser.close()
console.log(`${passed} passed, ${failed} failed, 0 skipped`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0
