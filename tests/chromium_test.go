package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// chromium is the context of the browser of all tests. The first that needs it starts it; each test has a tab with cookies of
// its own. TestMain calls endChromium.
var (
	chromium = sync.OnceValues(func() (context.Context, error) {
		allocator, free := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU)...)
		ctx, end := chromedp.NewContext(allocator)
		endChromium = func() { end(); free() }
		return ctx, chromedp.Do(ctx)
	})
	endChromium = func() {}
)

// tab is a page in Chromium.
type tab struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // it is the tab
	faults *log            // exceptions, and what the content policy has refused
}

// openPage opens a page in a tab of its own.
func openPage(t *testing.T, url string) *tab {
	t.Helper()
	tool(t, "chromium")
	b, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := chromedp.NewContext(b, chromedp.WithNewBrowserContext())
	t.Cleanup(end)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil { // the context of the first actions is that of the tab
		t.Fatal(err)
	}
	p := &tab{t: t, ctx: ctx, faults: &log{}}
	messages := chromedp.Console(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleException || strings.Contains(m.Text, "Content Security Policy") {
				fmt.Fprintln(p.faults, m.Text)
			}
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			p.screenshot(strings.ReplaceAll(t.Name(), "/", "-") + "-failed")
		}
		end()
		<-ended
		if text := p.faults.String(); text != "" {
			t.Errorf("the page has failed:\n%s", text)
		}
	})
	p.do(chromedp.Navigate(url))
	return p
}

// do carries out actions.
func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// evaluate returns what an expression of JavaScript, or its promise, is.
func evaluate[T any](p *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// says returns what an expression is, as text. It is "" if it fails.
func (p *tab) says(expression string) string {
	text, err := evaluate[string](p, "String("+expression+")")
	if err != nil {
		return ""
	}
	return text
}

// until waits until an expression has a text.
func (p *tab) until(expression, text string) {
	p.t.Helper()
	said := ""
	defer func() {
		if p.t.Failed() {
			p.t.Logf("%s: %s", expression, said)
		}
	}()
	waitFor(p.t, text, func() bool { said = p.says(expression); return strings.Contains(said, text) })
}

// sees waits until the page shows a text.
func (p *tab) sees(text string) {
	p.t.Helper()
	p.until("document.body.innerText", text)
}

// accessibleAs is JavaScript for the visible element of a selector whose accessible name, as far as these pages go, is a text.
func accessibleAs(selector, name string) string {
	text, _ := json.Marshal(name)
	return fmt.Sprintf(`[...document.querySelectorAll(%q)].find(e => e.checkVisibility() &&
		(e.getAttribute('aria-label') ?? e.labels?.[0]?.innerText ?? e.innerText).trim() === %s)`, selector, text)
}

// click clicks with the mouse at the button, or link, with a name, once there is one that can be used.
func (p *tab) click(name string) {
	p.t.Helper()
	const at = `(e => { if (!e || e.disabled) return null; e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })`
	var place []float64
	waitFor(p.t, "the button "+name, func() bool {
		place, _ = evaluate[[]float64](p, at+"("+accessibleAs("dialog[open] button, dialog[open] a", name)+" ?? "+accessibleAs("button, a, input[type=radio], input[type=checkbox]", name)+")")
		return len(place) == 2
	})
	p.do(chromedp.MouseClickXY(place[0], place[1]))
}

// fill types a text into the field with a label, in place of what it had.
func (p *tab) fill(label, text string) {
	p.t.Helper()
	waitFor(p.t, "the field "+label, func() bool {
		return p.says("(e => { if (!e) return; e.focus(); e.select?.(); return document.activeElement === e; })("+accessibleAs("input, textarea, select", label)+")") == "true"
	})
	p.do(chromedp.KeyEvent("\b"), chromedp.KeyEvent(text))
}

// press presses keys at what has the focus.
func (p *tab) press(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// screenshot stores what the tab shows in the folder that TR87_ARTEFACTS names, or nowhere.
func (p *tab) screenshot(name string) {
	p.t.Helper()
	folder := os.Getenv("TR87_ARTEFACTS")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o600)
	}
	if err != nil {
		p.t.Log("no screenshot: ", err)
	}
}

// axe finds faults of accessibility in a page; see testdata/README.md.
var axe = sync.OnceValues(func() ([]byte, error) { return os.ReadFile("testdata/axe.min.js") })

// accessible checks that the page has no fault of accessibility, and that nothing on it is cut off at its side. where names the
// page in messages.
func (p *tab) accessible(where string) {
	p.t.Helper()
	script, err := axe()
	if err != nil {
		p.t.Fatal(err)
	}
	if p.says("typeof axe") == "undefined" {
		if _, err := evaluate[chromedp.Void](p, string(script)); err != nil {
			p.t.Fatal(err)
		}
	}
	found, err := evaluate[[]struct {
		Help  string
		Nodes []string
	}](p, "axe.run().then(r => r.violations.map(v => ({help: v.help, nodes: v.nodes.map(n => n.html + ' ' + n.failureSummary)})))")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range found {
		p.t.Errorf("%s: %s:\n%s", where, f.Help, strings.Join(f.Nodes[:min(3, len(f.Nodes))], "\n"))
	}
	if wide := p.says("document.documentElement.scrollWidth - innerWidth"); wide != "0" && !strings.HasPrefix(wide, "-") {
		p.t.Errorf("%s is wider than the screen by %s pixels", where, wide)
	}
}
