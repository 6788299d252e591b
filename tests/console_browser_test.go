package tests

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// logIn logs in at the console with an account.
func (p *tab) logIn(name, password string) {
	p.t.Helper()
	p.fill("Name", name)
	p.fill("Password", password)
	p.click("Log in")
}

// open opens a page of the console that has a title, by its address.
func (p *tab) open(page, title string) {
	p.t.Helper()
	p.says("location.hash = '#/" + page + "'")
	p.until("document.title + ' ' + document.querySelector('h1')?.textContent", title+" · tr87proxy "+title)
}

// demoConsole starts the demonstration and logs in at its console.
func demoConsole(t *testing.T) (*tab, *process) {
	t.Helper()
	d := start(t, program(t), "demo", "--console", "127.0.0.1:0", "--api", "127.0.0.1:0", "--port", fmt.Sprint(freePort(t)))
	hint := regexp.MustCompile(`(http://\S+/) +name (\S+), password (\S+)`)
	waitFor(t, "the console", func() bool { return hint.MatchString(d.out.String()) })
	said := hint.FindStringSubmatch(d.out.String())
	p := openPage(t, said[1])
	p.logIn(said[2], said[3])
	p.sees("Log out")
	return p, d
}

// A user without a mouse reaches pages, the search, the rows of a table, and dialogs.
func TestConsoleKeyboard(t *testing.T) {
	t.Parallel()
	p, _ := demoConsole(t)
	p.press("?")
	p.until("document.querySelector('dialog')?.innerText", "Search on this page")
	p.press(kb.Escape)
	p.until("document.querySelectorAll('dialog').length", "0")
	p.press("ga")
	p.until("document.activeElement.textContent", "Administration")
	p.open("administration/telephones", "Administration")
	p.until("document.querySelectorAll('.telephone').length", "3")
	p.press("/")
	p.until("document.activeElement.type", "search")
	p.fill("Search telephones", "Alice")
	p.until("document.querySelectorAll('.telephone').length", "1")
	p.open("administration/servers", "Administration")
	p.until("document.querySelectorAll('tr.active').length", "1")
	p.says("document.querySelector('[role=grid]').focus()")
	p.press(kb.ArrowDown)
	p.until("document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))?.getAttribute('aria-rowindex')", "3")
}
