package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// row returns JavaScript for the text of the first row of a table that begins with a text.
func row(text string) string {
	return fmt.Sprintf("[...document.querySelectorAll('tbody.rows tr')].find(r => r.innerText.startsWith(%q))?.innerText", text)
}

// An administrator sees a call of other processes ring and be answered, and finds its parties over time, its ladder and the
// messages in it. Then he places one himself, by the form of a request.
func TestConsoleCalls(t *testing.T) {
	t.Parallel()
	p, d := demoConsole(t)
	server := regexp.MustCompile(`sip:tr87proxy@\S+;transport=tcp`).FindString(d.out.String())
	command := func(args ...string) {
		t.Helper()
		if c := start(t, program(t), append(args, "--server", server)...); c.wait(patience) != nil {
			t.Fatalf("%q: %s", args, c.out)
		}
	}
	p.open("devices", "Devices")
	p.until(row("101"), "idle")
	command("call", "100", "101")
	p.until(row("101"), "ringing")
	p.until(row("100"), "busy")
	command("answer", "101")
	p.until(row("101"), "busy")
	p.screenshot("devices-busy")

	p.open("calls", "Calls")
	p.until("document.querySelector('tbody.rows tr')?.innerText.match(/connected/g)?.length", "2")
	p.says("document.querySelector('tbody.rows tr').click()")
	p.until("document.querySelector('.callpicture')?.ariaLabel", "101: rings, then connected")
	p.until("document.querySelector('table.plain')?.innerText", "Established")
	p.until("document.querySelector('.rungs')?.innerText", "AnswerCall 101")
	p.says("[...document.querySelectorAll('.rung')].find(r => r.innerText.includes('AnswerCall 101')).click()")
	p.until("document.querySelector('.record')?.innerText", "<callToBeAnswered>")
	p.accessible("a call")
	p.screenshot("call")

	p.open("ladder/name/AnswerCall", "Ladder")
	p.until("document.querySelector('.rungs')?.innerText", "allowed: demo mode")
	if text := p.says("document.querySelector('.rungs').innerText"); strings.Contains(text, "MonitorStart") {
		t.Errorf("the filter lets through\n%s", text)
	}
	p.accessible("the ladder")

	p.open("browser/MakeCall", "Browser")
	p.fill("callingDevice *", "102")
	p.fill("calledDirectoryNumber *", "100")
	p.click("Dry run")
	p.sees("would be sent")
	p.click("Send")
	p.sees("MakeCallResponse")
	p.until("document.body.innerText", "102 originated")
	p.click("XML")
	p.sees("<callingDevice>102</callingDevice>")
	p.click("curl")
	p.sees(`curl --json '{"MakeCall":{"callingDevice":"102","calledDirectoryNumber":"100"`)
	p.accessible("the browser of requests")
	p.screenshot("browser-sent")
	p.open("device/102", "Device")
	p.click("Hang up")
	p.until("document.body.innerText", "connectionCleared")
}

// What comes from the wire is a text on every page: names, numbers, and messages.
func TestConsoleHostile(t *testing.T) {
	t.Parallel()
	const number = `1"'><script>document.title='x'</script><b>`
	accounts, port := filepath.Join(t.TempDir(), "accounts"), freePort(t)
	account(t, accounts, "admin", "secret")
	r := serve(t, fmt.Sprintf(`  - {number: "3000", name: '<script>document.title="x"</script>"<b>'}
application-sessions: {accounts: %s}
console: {listen: [{transport: tcp, address: "127.0.0.1:%d"}]}
grants: [{who: admin, control: ["*"], dial: ["*"], administer: true}]
`, accounts, port))
	p := openPage(t, fmt.Sprintf("http://127.0.0.1:%d/#/devices", port))
	p.logIn("admin", "secret")
	p.fill("Search devices", "script")
	p.until(row("3000"), `<script>document.title="x"</script>"<b>`)
	p.open("browser/MakeCall", "Browser")
	p.fill("callingDevice *", "3000")
	p.fill("calledDirectoryNumber *", number)
	p.click("Send")
	p.until("document.body.innerText", "1\\\"'><script>")
	p.fill("calledDirectoryNumber *", "1000")
	p.click("correlatorData")
	p.click("string")
	p.fill("string", number)
	p.click("Send")
	p.sees("MakeCallResponse")
	p.open("ladder/device/3000", "Ladder")
	p.until("document.querySelector('.rungs')?.innerText", "MakeCall 3000 1000")
	p.says("[...document.querySelectorAll('.rung')].find(r => r.innerText.includes('MakeCall 3000 1000')).click()")
	p.until("document.querySelector('.record pre')?.innerText", "<callingDevice>3000</callingDevice>")
	p.until("document.querySelector('.record pre')?.innerText", "script&gt;document.title=")
	p.open("calls", "Calls")
	p.until("document.querySelector('tbody.rows tr')?.innerText", `<script>document.title="x"</script>"<b>`)
	p.says("document.querySelector('tbody.rows tr').click()")
	p.until("document.querySelector('.callpicture')?.ariaLabel", "3000: ")
	p.open("device/3000", "Device")
	p.sees(`<script>document.title="x"</script>`)
	if found := p.says("document.scripts.length + ' ' + document.querySelectorAll('b').length"); found != "1 0" {
		t.Errorf("scripts and bold texts on the page: %s", found)
	}
	r.stop()
}

// 5000 devices are as many rows of a table, of which the page has a few. With TR87_FRAMES=1, the pages are measured while 100 calls
// a second go on: a frame that takes more than 100 ms is a fault then.
func TestConsoleManyDevices(t *testing.T) {
	long(t)
	t.Parallel()
	var more strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&more, "  - {number: \"%d\", name: \"Person %d\"}\n", 10000+i, i)
	}
	accounts, port := filepath.Join(t.TempDir(), "accounts"), freePort(t)
	account(t, accounts, "admin", "secret")
	r := serve(t, fmt.Sprintf(`%sapplication-sessions: {accounts: %s}
console: {listen: [{transport: tcp, address: "127.0.0.1:%d"}]}
limits: {requests-per-second: 1000000, calls-per-minute: 1000000, requests-outstanding: 5000}
grants: [{who: admin, control: ["*"], dial: ["*"], administer: true}]
`, more.String(), accounts, port))
	address := fmt.Sprintf("http://127.0.0.1:%d", port)
	p := openPage(t, address+"/#/devices")
	p.logIn("admin", "secret")
	p.sees("5000 of 5000")
	drawn := func() {
		t.Helper()
		if n, err := strconv.Atoi(p.says("document.querySelectorAll('tbody.rows tr').length")); err != nil || n < 10 || n > 100 {
			t.Errorf("the page has %d rows of 5000", n)
		}
	}
	drawn()
	p.says("document.querySelector('.table').scrollTop = 1e9")
	p.until("document.querySelector('tbody.rows').innerText", "13999")
	drawn()
	p.fill("Search devices", "person 3999")
	p.sees("1 of 5000")

	l := newLoad(t, address)
	l.call("10000", "10001")
	p.fill("Search devices", "10001")
	p.until(row("10001"), "ringing")
	if os.Getenv("TR87_FRAMES") != "" {
		measureFrames(t, p, l)
	}
	r.stop()
}

// measureFrames reports how long the frames of pages take while 100 calls a second go on.
func measureFrames(t *testing.T, p *tab, l *load) {
	t.Helper()
	const measured = `new Promise(done => { const gaps = [], begin = performance.now(); let last = begin; (function frame() {
		const now = performance.now(); gaps.push(now - last); last = now;
		now - begin < 10000 ? requestAnimationFrame(frame) : done(gaps.sort((a, b) => b - a).slice(0, 5).map(Math.round).join(' ')) })() })`
	stop := l.begin(100)
	defer stop()
	for _, title := range []string{"Calls", "Devices", "Ladder"} {
		page := strings.ToLower(title)
		p.open(page, title)
		p.until("document.querySelectorAll('tbody.rows tr, .rungs .rung').length > 9", "true")
		gaps, err := evaluate[string](p, measured)
		if err != nil {
			t.Fatal(err)
		}
		placed, failed := l.placed()
		t.Logf("%s: the longest frames took %s ms; %d calls so far, and %d requests refused", page, gaps, placed, failed)
		if worst, err := strconv.Atoi(strings.Fields(gaps + " x")[0]); err != nil || worst >= 100 {
			t.Errorf("%s: a frame took %s ms", page, gaps)
		}
	}
}

// load places calls over HTTP, as somebody who has logged in at the console.
type load struct {
	t       *testing.T
	address string
	csrf    string
	client  http.Client

	mu             sync.Mutex
	placedCalls    int
	failedRequests int
}

func newLoad(t *testing.T, address string) *load {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, address: address, client: http.Client{Jar: jar, Timeout: patience, Transport: &http.Transport{MaxConnsPerHost: 50, MaxIdleConnsPerHost: 50}}}
	var session struct{ CSRF string }
	if err := l.post("/session", map[string]string{"name": "admin", "password": "secret"}, &session); err != nil {
		t.Fatal(err)
	}
	l.csrf = session.CSRF
	return l
}

func (l *load) post(path string, body, into any) error {
	document, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, l.address+path, bytes.NewReader(document))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-CSRF-Token", l.csrf)
	res, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// call has a device call another one, and returns the callID; "" if it is refused.
func (l *load) call(from, to string) string {
	var placed struct{ Call string }
	l.try("/v1/devices/"+from+"/calls", map[string]string{"to": to}, &placed)
	return placed.Call
}

// try sends a request, and counts it if it fails.
func (l *load) try(path string, body, into any) bool {
	err := l.post(path, body, into)
	if err != nil {
		l.mu.Lock()
		l.failedRequests++
		l.mu.Unlock()
	}
	return err == nil
}

// placed returns how many calls were placed, answered and cleared, and how many requests failed.
func (l *load) placed() (calls, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.placedCalls, l.failedRequests
}

// begin places so many calls a second, and returns a function that stops that.
func (l *load) begin(rate int) (stop func()) {
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := 1; ; i++ {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			from, to := strconv.Itoa(10000+2*(i%2000)), strconv.Itoa(10001+2*(i%2000))
			group.Go(func() { l.one(from, to) })
		}
	})
	return func() { close(done); group.Wait() }
}

// one is a call that rings for a moment, is answered, and cleared after two seconds.
func (l *load) one(from, to string) {
	id := l.call(from, to)
	if id == "" {
		return
	}
	var answer any
	path := "/v1/devices/%s/calls/%s/%s"
	l.try(fmt.Sprintf(path, to, id, "answer"), struct{}{}, &answer)
	time.Sleep(2 * time.Second) //nolint:forbidigo // how long people talk
	if l.try(fmt.Sprintf(path, from, id, "clear"), struct{}{}, &answer) {
		l.mu.Lock()
		l.placedCalls++
		l.mu.Unlock()
	}
}
