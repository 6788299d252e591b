package front

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

const (
	clientInbox = 256              // how many lines and events of a program may wait
	writeTime   = 10 * time.Second // how long a program may take to read a line
	leaveTime   = 3 * time.Second  // how long a command of a program that has left may wait for the switching function
)

// client is a program's connection to a port. Everything but the inbox belongs to one goroutine.
type client struct {
	card    *Card
	guest   *gate.Guest
	tap     *trace.Tap
	nc      net.Conn
	handle  int
	session *proxy.Session // nil: the manager connection
	inbox   chan func()
	ended   chan struct{} // closed at the end of serve
	quit    chan struct{} // closed to end it
	once    sync.Once     // closes quit
	gone    bool          // the program has left; its commands are carried out

	line
	queue   []*ctserver.Line // commands that wait for their turn
	running *ctserver.Line   // the command that is being carried out
	limit   *time.Timer      // of its duration
	between *time.Timer      // of the time between two digits of ctcollect, or of the silence in a recording
	since   int              // how many digits there were at its beginning
	wanted  int              // rings that ctwaitforring waits for
	record  *recording
	digits  string // that the other end has sent
	timers  []*time.Timer
	sounds  []*sound // that play beside the commands: the first is heard
	tone    bool
	script  string
	told    string   // the status that the card knows
	plain   bool     // the program speaks the older form of the protocol,
	events  []string // in which events wait until it asks for them
}

// line is the port's telephone line.
type line struct {
	offHook               bool
	ringing, active, held *uacsta.ConnectionID
	left                  map[string]*uacsta.ConnectionID // calls that the program has hung up, until their last event; not nil: where a transfer has moved the connection
	caller                string
	rings                 int // of the incoming call
	ring                  *time.Timer
}

// device is the port's device.
func (cl *client) device() string { return cl.card.cfg.Devices[cl.handle] }

// close ends the connection.
func (cl *client) close() {
	cl.once.Do(func() { close(cl.quit) })
	_ = cl.nc.Close()
}

// post has the client's goroutine do something. If the goroutine has fallen behind, post closes the connection.
func (cl *client) post(what func()) {
	select {
	case cl.inbox <- what:
	case <-cl.ended:
	default:
		cl.close()
	}
}

// after has the client's goroutine do something later.
func (cl *client) after(pause time.Duration, what func()) *time.Timer {
	return time.AfterFunc(pause, func() { cl.post(what) })
}

// serve serves the connection until it ends. The commands of a program that has left are carried out.
func (cl *client) serve(ctx context.Context, opening proxy.Opening) {
	defer close(cl.ended)
	stop := context.AfterFunc(ctx, cl.close)
	defer stop()
	if cl.handle != ctserver.Manager {
		opening.Line = cl.device()
		session, err := cl.card.cfg.Proxy.Open(opening, toClient{cl})
		if err != nil {
			return // the core has logged it
		}
		cl.session = session
		defer session.Close(errors.New("the program closed the connection"))
	}
	cl.card.claim(cl)
	defer cl.card.release(cl)
	defer cl.stop()
	ended := make(chan error, 1)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		defer share.Survive(cl.card.cfg.Log, "reading a command", func(err error) { ended <- err })
		ended <- cl.read()
	}()
	defer func() { cl.close(); <-reading }()
	cl.watch()
	for !cl.gone || cl.running != nil && !endless[cl.running.Name] || len(cl.inbox) > 0 {
		select {
		case what := <-cl.inbox:
			what()
			cl.tell()
		case err := <-ended:
			if !hasLeft(err) || cl.card.port(cl.handle) != cl {
				return
			}
			cl.gone = true
			cl.awaitSwitch()
		case <-cl.quit:
			return
		}
	}
}

// hasLeft reports whether an error of a connection says that the program has closed it, perhaps without reading all.
func hasLeft(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// endless are the commands without a limit of time.
var endless = map[string]bool{"ctwaitforring": true, "ctwaitforevent": true}

// tell tells the card the status of the port.
func (cl *client) tell() {
	if now := cl.status(); now != cl.told {
		cl.told = now
		cl.card.note(cl, now)
	}
}

// stop ends what still goes on at the end of the connection.
func (cl *client) stop() {
	cl.endRecording()
	cl.sounds = nil
	for _, t := range append(cl.timers, cl.ring, cl.limit, cl.between) {
		if t != nil {
			t.Stop()
		}
	}
}

// watch starts a monitor of the device, and takes over its calls. Commands wait until they are known.
func (cl *client) watch() {
	if cl.session == nil {
		return
	}
	device := uacsta.Dev(cl.device())
	cl.running = &ctserver.Line{}
	cl.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}, func(res *uacsta.Message) {
		if res == nil || res.Err() != nil {
			cl.close()
		}
	})
	cl.ask(uacsta.SnapshotDevice{SnapshotObject: device}, func(res *uacsta.Message) {
		var snapshot uacsta.SnapshotDeviceResponse
		if res != nil && res.Decode(&snapshot) == nil && snapshot.CrossRefIDorSnapshotData.SnapshotData != nil {
			cl.found(snapshot.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo)
		}
		cl.next()
	})
}

// read reads commands until the connection ends, and returns the reason.
func (cl *client) read() error {
	in := cl.tap.Input(cl.nc)
	r := bufio.NewReaderSize(in, ctserver.MaxLine)
	for {
		l, plain, err := ctserver.ReadCommand(r)
		if err == nil && l.Name != "" {
			in.Keep(r, !cl.guest.Proved())
		} else {
			in.Skip(r, !cl.guest.Proved())
		}
		switch {
		case err != nil:
		case l.Name == "" || l.Reply:
			err = cl.guest.Strike(slog.LevelInfo, "line is not a command")
		default:
			cl.post(func() { cl.plain = plain; cl.command(l) })
		}
		if err != nil {
			return err
		}
	}
}

// ask sends a request to the switching function. then gets the response, or nil, on the client's goroutine.
func (cl *client) ask(service any, then func(res *uacsta.Message)) {
	req := uacsta.Encode(service, uacsta.Edition6)
	name := req.Name()
	cl.session.Request(req, func(res *uacsta.Message) {
		if res != nil && res.Err() != nil {
			cl.refused(name, res.Err())
		}
		cl.post(func() { then(res) })
	})
}

func (cl *client) refused(what string, err error) {
	cl.card.cfg.Log.Info("request of a card port refused", "port", cl.handle+1, "service", what, "err", err)
}

// toClient is the client as the core uses it: a proxy.Client.
type toClient struct{ *client }

// Event implements proxy.Client.
func (c toClient) Event(m *uacsta.Message) { c.post(func() { c.event(m) }) }

// Closed implements proxy.Client.
func (c toClient) Closed(error) { c.close() }

// write writes a line: a reply, or an event. Characters of its arguments that a line cannot hold become question marks.
func (cl *client) write(l *ctserver.Line) {
	l.Reply, l.Src, l.Dst = true, cl.handle, cl.handle
	for i, arg := range l.Args {
		l.Args[i] = ctserver.Word(arg)
	}
	text, err := l.Text()
	if cl.plain {
		text, err = l.Plain(), nil
	}
	if err != nil {
		l.Args = []string{"ERROR"}
		if text, err = l.Text(); err != nil { // not even the name of the command fits
			cl.close()
			return
		}
	}
	_ = cl.nc.SetWriteDeadline(time.Now().Add(writeTime))
	cl.tap.Keep(true, !cl.guest.Proved(), []byte(text))
	if _, err := cl.nc.Write([]byte(text)); err != nil && !hasLeft(err) { // the reader notices that, too
		_ = cl.nc.Close()
	}
}

// reply replies to a command.
func (cl *client) reply(c *ctserver.Line, args ...string) {
	cl.write(&ctserver.Line{Name: c.Name, Args: args})
}
