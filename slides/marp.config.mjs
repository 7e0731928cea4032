// How Marp turns a deck into one file that needs nothing beside it: our theme,
// its fonts and every picture go into the page itself.
import { readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const read = (name, how = 'utf8') => readFileSync(resolve(here, name), how)

const fonts = [
	['sans', 400, 'normal'], ['sans', 400, 'italic'], ['sans', 600, 'normal'],
	['mono', 400, 'normal'], ['mono', 600, 'normal'],
]

function fontFace([family, weight, style]) {
	const name = `ibm-plex-${family}`
	const data = read(`node_modules/@fontsource/${name}/files/${name}` +
		`-latin-${weight}-${style}.woff2`, 'base64')
	return `@font-face { font-family: 'Plex ${family}'; font-weight: ${weight};
		font-style: ${style}; src: url(data:font/woff2;base64,${data}); }`
}

// ![alt](pictures/x.svg) becomes the drawing itself, so that it has our fonts
// and the overflow check can look into it.
function inlineDrawing(src, alt) {
	const id = basename(src, '.svg')
	return read(src)
		.replace(/^<\?xml.*\?>\s*/, '')
		.replace(/\bid="/g, `id="${id}-`)
		.replace(/url\(#/g, `url(#${id}-`)
		.replace('<svg ', `<svg role="img" aria-label="${alt}" `)
}

// Comments that tell the checker of texts about a console block are no notes.
const forTheChecker =
	/^<!--\s*(varies|order|status|limit|not run):[^]*?-->[ \t]*$/gm

function plugin(md) {
	const image = md.renderer.rules.image
	md.renderer.rules.image = (tokens, i, options, env, self) => {
		const src = tokens[i].attrGet('src')
		if (!src.endsWith('.svg') || src.includes(':'))
			return image(tokens, i, options, env, self)
		return inlineDrawing(src, md.utils.escapeHtml(tokens[i].content))
	}
	md.core.ruler.before('normalize', 'forklab', (state) => {
		state.src = state.src.replace(forTheChecker, '')
	})
}

export default {
	html: false,
	options: { emoji: { shortcode: false, unicode: false }, math: false },
	engine: ({ marp }) => {
		marp.themeSet.add(fonts.map(fontFace).join('\n') + read('theme.css'))
		return marp.use(plugin)
	},
}
