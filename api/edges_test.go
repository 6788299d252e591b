package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// raw sends octets to the server, and returns the responses until it closes the connection, or for as many as there are
// wanted.
func (o *office) raw(request string, wanted int) (list []*http.Response) {
	o.Helper()
	conn, err := net.Dial("tcp", o.http.Listener.Addr().String())
	if err != nil {
		o.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait.Limit))
	if _, err := io.WriteString(conn, request); err != nil {
		o.Fatal(err)
	}
	for in := bufio.NewReader(conn); len(list) < wanted; {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return list
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		list = append(list, res)
	}
	return list
}

// Paths that can be read in two ways, or are odd, reach no device but the one that they name, and no handler fails.
func TestOddPaths(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	for path, want := range map[string][]int{
		"/v1/devices/100":                            {200},
		"/v1/devices/%31%30%30":                      {200},
		"/v1/devices/199":                            {403, 404},
		"/v1/devices/1%300%2F..%2F199":               {403, 404, 422},
		"/v1/devices/199%2F..%2F100":                 {403, 404, 422},
		"/v1/devices/100/../199":                     {301, 307, 308},
		"/v1/devices/%2e%2e/devices/199":             {301, 307, 308, 403, 404},
		"/v1/devices/100%00":                         {403, 404, 422},
		"/v1/devices/100%23":                         {403, 404, 422},
		"/v1/devices/%2B100":                         {403, 404, 422},
		"/v1/devices/%252B100":                       {403, 404, 422},
		"/v1/devices/%25313030":                      {403, 404, 422},
		"/v1/devices/%C3%A9t%C3%A9":                  {403, 404, 422},
		"/v1/devices/%FF%FE":                         {400, 403, 404, 422},
		"/v1/devices/%zz":                            {400},
		"/v1/devices/":                               {404},
		"/v1/devices//calls":                         {301, 307, 308, 404},
		"/v1/devices/" + strings.Repeat("1", 10<<10): {403, 404, 422},
		"/v1/devices/100/calls/" + strings.Repeat("7", 10<<10) + "/": {404},
		"/v1/calls/%2F":                      {403, 404, 422},
		"/v1/calls/..%2Fdevices%2F100":       {403, 404, 422},
		"//v1/devices/199":                   {301, 307, 308, 404},
		"http://evil.example/v1/devices/199": {403, 404},
	} {
		list := o.raw("GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 1)
		if len(list) != 1 {
			t.Errorf("%.60s: no response", path)
			continue
		}
		ok := false
		for _, status := range want {
			ok = ok || list[0].StatusCode == status
		}
		if !ok {
			t.Errorf("%.60s: %d, want one of %v", path, list[0].StatusCode, want)
		}
	}
}

// A request whose end can be read in two ways is refused, or ends the connection: nothing behind it is carried out as
// another request. A client that asks first whether to send its body is told to.
func TestRequestsThatCanBeReadInTwoWays(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	const head, hidden = "POST /v1/csta HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n", "POST /v1/devices/100/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"to\":\"101\"}"
	for name, request := range map[string]string{
		"two lengths":          head + "Content-Length: 2\r\nContent-Length: 200\r\n\r\n{}" + hidden,
		"a list of lengths":    head + "Content-Length: 2, 200\r\n\r\n{}" + hidden,
		"a length with a sign": head + "Content-Length: +2\r\n\r\n{}" + hidden,
		"an unknown coding":    head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
		"two codings":          head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
		"a space in a name":    head + "Content-Length : 2\r\n\r\n{}" + hidden,
		"a folded header":      " " + head + "\r\n" + hidden,
		"two hosts":            head + "Host: evil.example\r\nContent-Length: 2\r\n\r\n{}" + hidden,
		"no host":              "GET /v1/devices HTTP/1.1\r\n\r\n" + hidden,
	} {
		for _, res := range o.raw(request, 2) {
			if res.StatusCode/100 == 2 || res.StatusCode/100 == 5 && res.StatusCode != http.StatusNotImplemented {
				t.Errorf("%s: %s", name, res.Status)
			}
		}
	}
	if calls := o.callsAt("100"); len(calls) > 0 {
		t.Errorf("calls that nobody placed: %v", calls)
	}
	asking := "POST /v1/csta HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%s"
	body := `{"GetDoNotDisturb":{"device":"100"}}`
	if list := o.raw(fmt.Sprintf(asking, len(body), body), 2); len(list) != 2 || list[0].StatusCode != http.StatusContinue || list[1].StatusCode != http.StatusOK {
		t.Errorf("100-continue: %v", list)
	}
}

// A session that nobody uses closes, and the client does not notice.
func TestIdleSessionComesBack(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ask := func() {
		t.Helper()
		if list := o.raw("GET /v1/devices/100 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 1); len(list) != 1 || list[0].StatusCode != http.StatusOK {
			t.Fatal(list)
		}
	}
	overdue := func() (count int) {
		table := &o.server.clients
		table.mu.Lock()
		defer table.mu.Unlock()
		for _, c := range table.table {
			if count++; c.timer != nil {
				c.timer.Reset(0) // as if the time had passed
			}
		}
		return count
	}
	for range 3 {
		ask()
		ask()
		wait.For(t, "the end of the session", func() bool { return overdue() == 0 })
	}
}

// Pages go on where they were while devices come and go: none that stays is missing or comes twice.
func TestPagesWhileDevicesChange(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.rules("100", "102", "199")
	next := ""
	page := func(want string) {
		t.Helper()
		var list DeviceList
		if status, text := o.get("/v1/devices?limit=1&page="+url.QueryEscape(next), &list); status != http.StatusOK || len(list.Devices) != 1 || list.Devices[0].Device != want {
			t.Fatalf("after %q: %d %s, want %s", next, status, text, want)
		}
		next = list.Next
	}
	page("100")
	o.rules("100", "101", "102", "199") // 101 comes
	page("101")
	o.rules("100", "102", "199") // and goes, after it was the last of a page
	page("102")
	page("199")
	if next != "" {
		t.Errorf("a page after the last: %q", next)
	}
}
