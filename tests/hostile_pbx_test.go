package tests

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// hostilePBX is a switching function that answers what it must, and whose test does harm. Its
// reference of a monitor, or of a snapshot, which comes in segments, is the device.
type hostilePBX struct {
	t       *testing.T
	address string
	stop    func() // ends it
	cuts    string // the request at which it closes the connection instead of a response; "": none
	silent  string // the request to which it does not respond; "": none

	mu      sync.Mutex
	conn    *xmlClient     // that the proxy has opened
	asked   map[string]int // requests, by name
	refused int            // of its own requests
}

func newHostilePBX(t *testing.T) *hostilePBX {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hostilePBX{t: t, address: l.Addr().String(), asked: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.serve(dialXML(t, conn, nil))
		}
	}()
	h.stop = sync.OnceFunc(func() { _ = l.Close(); h.drop(); <-done })
	t.Cleanup(h.stop)
	return h
}

// drop ends the connection.
func (h *hostilePBX) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		_ = h.conn.conn.Close()
	}
}

const eventID = 9999

// send writes documents as they are, many times.
func (h *hostilePBX) send(times, id int, documents ...string) {
	for range times {
		for _, d := range documents {
			h.mu.Lock()
			h.conn.write(id, d)
			h.mu.Unlock()
		}
	}
}

// got returns how many requests of a name there were, and how many of its own were refused.
func (h *hostilePBX) got(name string) (asked, refused int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[name], h.refused
}

func (h *hostilePBX) serve(c *xmlClient) {
	h.mu.Lock()
	h.conn = c
	h.mu.Unlock()
	for {
		_ = c.conn.SetReadDeadline(time.Time{})
		id, m, err := c.read()
		if err != nil {
			return
		}
		h.mu.Lock()
		if h.cuts != "" && m.Name() == h.cuts {
			h.asked[m.Name()]++
			_ = c.conn.Close()
		} else if res := h.answer(m); res != "" {
			n, _ := strconv.Atoi(id)
			c.write(n, res)
		}
		h.mu.Unlock()
	}
}

func (h *hostilePBX) answer(m *uacsta.Message) string {
	switch m.Kind() {
	case uacsta.ErrorCode:
		h.refused++
		return ""
	case uacsta.Request:
		h.asked[m.Name()]++
	default:
		return ""
	}
	if m.Name() == h.silent {
		return ""
	}
	switch m.Name() {
	case "RequestSystemStatus":
		return "<RequestSystemStatusResponse><systemStatus>normal</systemStatus></RequestSystemStatusResponse>"
	case "MonitorStart":
		return "<MonitorStartResponse><monitorCrossRefID>" + m.Text("monitorObject/deviceObject") + "</monitorCrossRefID></MonitorStartResponse>"
	case "SnapshotDevice":
		return "<SnapshotDeviceResponse><crossRefIDorSnapshotData><serviceCrossRefID>" + m.Text("snapshotObject") + "</serviceCrossRefID></crossRefIDorSnapshotData></SnapshotDeviceResponse>"
	}
	if res := uacsta.AnswerTo(m, uacsta.Edition3); res != nil {
		return string(res.Bytes())
	}
	return ""
}

// A switch that does harm costs only itself: a bounded part of the memory and of the log, and those
// of its own clients that are too slow for what it sends. A client of other devices is served.
func TestHostilePBX(t *testing.T) {
	long(t)
	h := newHostilePBX(t)
	r := serve(t, "links: [{name: bad, addresses: [\""+h.address+"\"], devices: [\"9???\"], edition: 3}]\n"+everybody)
	r.linked("bad")
	good := r.xml()
	good.monitor("1001")
	var first time.Duration // which says how busy the machine is with other things
	served := func() {
		t.Helper()
		began := time.Now()
		id := good.ask(call("1000", "1001")).Text("callingDevice/callID")
		good.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "1000")})
		took := time.Since(began)
		if first == 0 {
			first = took
		}
		if took > 2*time.Second+20*first {
			t.Errorf("a call at another switch takes %v, and took %v before", took, first)
		}
	}
	served()
	const mib = 1 << 20 // as the race detector has it, which takes its part
	before := r.metric("process_resident_memory_bytes") / mib
	grown := func(what string, most float64) {
		t.Helper()
		if now := r.metric("process_resident_memory_bytes") / mib; now > before+most {
			t.Errorf("%s: %.0f MiB of memory, %.0f before", what, now, before)
		}
	}
	private := func(data string) string {
		return "<extensions><privateData><private>" + data + "</private></privateData></extensions>"
	}

	own := r.xml() // of the bad switch
	for n := range 5 {
		own.monitor(fmt.Sprint(9000 + n))
	}
	slow := make([]*xmlClient, 4)
	for n := range slow {
		slow[n] = r.xml()
		slow[n].monitor("9100")
	}
	for range 8 {
		h.send(60, eventID, "<HeldEvent><monitorCrossRefID>9100</monitorCrossRefID><heldConnection><callID>1</callID><deviceID>9100</deviceID></heldConnection>"+private(strings.Repeat("0", 60000))+"</HeldEvent>")
		served()
		grown("large events for slow clients", 600)
	}
	waitFor(t, "the end of the slow clients", func() bool { return r.metric("tr87proxy_sessions") == 2 })

	h.drop()
	waitFor(t, "the snapshots after a loss", func() bool { n, _ := h.got("SnapshotDevice"); return n == 5 })
	for n := range 5 {
		h.send(100, 1, fmt.Sprintf("<SnapshotDeviceData><serviceCrossRefID>%d</serviceCrossRefID>%s</SnapshotDeviceData>", 9000+n, private(strings.Repeat("<a/>", 4000))))
		served()
		grown("segments without end", 600)
	}
	waitFor(t, "the end of the snapshots", func() bool { _, refused := h.got(""); return refused > 300 })
	waitFor(t, "a snapshot, which this switch answers late while it has other things to read", func() bool {
		return own.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("9000")}).Err() == nil
	})
	h.send(1, 1, "<SnapshotDeviceData><serviceCrossRefID>9000</serviceCrossRefID><segmentID>1</segmentID><lastSegment>true</lastSegment></SnapshotDeviceData>")
	for m := own.hear(); m.Name() != "SnapshotDeviceData"; m = own.hear() {
		if m.Name() != "SystemStatus" {
			t.Errorf("%s", m)
		}
	}

	lines := strings.Count(r.out.String(), "\n")
	began := time.Now()
	h.send(300, 1, "<WashDishes/>", "<SystemStatus><systemStatus>overloadReached</systemStatus></SystemStatus>", "<SystemStatus><systemStatus>normal</systemStatus></SystemStatus>",
		"<MakeCallResponse/>", "<nothing", "<HeldEvent><monitorCrossRefID>1</monitorCrossRefID><monitorCrossRefID>2</monitorCrossRefID></HeldEvent>")
	_, refused := h.got("")
	h.send(1, 1, "<WashDishes/>")
	waitFor(t, "the end of the flood", func() bool { _, n := h.got(""); return n > refused })
	served()
	const kinds = 8
	if more := strings.Count(r.out.String(), "\n") - lines; float64(more) > kinds*(time.Since(began).Seconds()+1) {
		t.Errorf("%d lines in the log in %v", more, time.Since(began))
	}
	statuses := 0
	own.ask(uacsta.RequestSystemStatus{})
	for _, m := range own.news {
		if m.Name() == "SystemStatus" {
			statuses++
		}
	}
	if float64(statuses) > time.Since(began).Seconds()+1 {
		t.Errorf("%d statuses in %v", statuses, time.Since(began))
	}
	r.stop()
}
