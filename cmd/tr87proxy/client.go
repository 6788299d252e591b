package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tls"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// clientFlags has the flags of every client command.
type clientFlags struct {
	server, proxy, from, line    string
	user, password, passwordFile string
	account, application         string
	as                           string
	ca, certificate, key         string
	trace                        bool
	inJSON                       func() bool    // whether the command writes JSON
	painter                      func() painter // of its output
	timeout                      time.Duration
}

func (f *clientFlags) add(cmd *cobra.Command) {
	f.inJSON = func() bool { return asJSON(cmd) }
	f.painter = func() painter { return painterFor(cmd, cmd.OutOrStdout()) }
	fl := cmd.Flags()
	fl.StringVarP(&f.server, "server", "s", "sip:tr87proxy@127.0.0.1:5062;transport=tcp", "SIP URI of the TR/87 server")
	fl.StringVar(&f.proxy, "proxy", "", "SIP URI of an outbound proxy")
	fl.StringVar(&f.from, "from", "sip:tr87proxy-client@localhost", "SIP URI of the client")
	fl.StringVar(&f.line, "line", "", "line of the session, as Lync clients send it, such as tel:100")
	fl.StringVar(&f.as, "as", "", "behave like this kind of client: lync (needs --line)")
	fl.StringVar(&f.user, "user", "", "user name for digest authentication")
	fl.StringVar(&f.passwordFile, "password-file", "", "file with the password (default: TR87_PASSWORD)")
	fl.StringVar(&f.account, "login", "", "account for an application session (ECMA-354), with the password of --password-file")
	fl.StringVar(&f.application, "application-id", "tr87proxy", "application ID of the application session")
	fl.StringVar(&f.ca, "ca", "", "PEM file of the authorities for the server's certificate")
	fl.StringVar(&f.certificate, "certificate", "", "PEM file of the client's certificate, for mutual TLS")
	fl.StringVar(&f.key, "key", "", "PEM file of the certificate's key")
	fl.BoolVar(&f.trace, "trace", false, "show every SIP message on standard error")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to wait for a response")
}

// connection is an open session, and the output for its messages.
type connection struct {
	*tr87.Client
	ua          *sip.UA
	flags       *clientFlags
	out, errOut io.Writer
	ended       chan error
	inbox       *inbox
	monitored   map[string]string // devices of monitors, by cross reference
	names       deviceNames
	lent        bool // it belongs to a script, which closes it
}

// lending is the context key for a connection that commands use instead of opening
// their own.
type lending struct{}

// open opens a session. Without event, messages of the server go to the inbox.
func (f *clientFlags) open(ctx context.Context, out, errOut io.Writer, event func(*uacsta.Message)) (*connection, error) {
	if lender, ok := ctx.Value(lending{}).(*connection); ok {
		return &connection{Client: lender.Client, ua: lender.ua, flags: lender.flags, out: out, errOut: errOut, ended: lender.ended, lent: true}, nil
	}
	f.password = os.Getenv("TR87_PASSWORD")
	if f.passwordFile != "" {
		data, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return nil, usageError{err}
		}
		f.password = strings.TrimSpace(string(data))
	}
	source, err := tls.NewClient(tls.Files{Certificate: f.certificate, Key: f.key, CA: f.ca})
	if err != nil {
		return nil, usageError{err}
	}
	agent, fromParams := "tr87proxy-client", ""
	switch {
	case f.as == "lync" && f.line != "":
		agent, fromParams = "UCCAPI/15.0.0.0 OC/15.0.0.0 (tr87proxy-client)", "epid="+strings.ToLower(rand.Text()[:10])
	case f.as != "":
		return nil, usageError{errors.New("--as takes lync, and --line with it, such as --as lync --line tel:+14255550100")}
	}
	cfg := sip.Config{
		UserAgent: agent, TLSClient: source.Config(), DTLSClient: &tls.Files{Certificate: f.certificate, Key: f.key, CA: f.ca},
	}
	if f.trace {
		cfg.Trace = tracer(errOut)
	}
	c := &connection{ua: sip.New(cfg), flags: f, out: out, errOut: errOut, ended: make(chan error, 1), inbox: newInbox(), names: deviceNames{}}
	if event == nil {
		event = c.inbox.put
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	var account uacsta.Login
	if f.account != "" {
		account = uacsta.Login{User: f.account, Password: f.password}
	}
	c.Client, err = tr87.Open(ctx, c.ua, tr87.Dial{
		Account: account, Application: f.application,
		To: f.server, From: f.from, Proxy: f.proxy, Line: f.line, FromParams: fromParams, Username: f.user, Password: f.password,
		Event: event, Ended: func(err error) { c.ended <- err },
	})
	if err != nil {
		c.ua.Close()
		return nil, f.explain(err)
	}
	return c, nil
}

// explain adds advice to common errors.
func (f *clientFlags) explain(err error) error {
	var refusal *sip.Refusal
	if errors.As(err, &refusal) {
		if advice := f.advice(refusal.Response.Code()); advice != "" {
			return fmt.Errorf("%s: %w: %s", f.server, err, advice)
		}
	}
	return fmt.Errorf("%s: %w", f.server, err)
}

// advice says what to do if a server refuses the session with a SIP status code, or returns
// "".
func (f *clientFlags) advice(code int) string {
	switch code {
	case 401:
		if f.user != "" {
			return "wrong user or password"
		}
		return "use --user and --password-file"
	case 403:
		return "not admitted: no grant, or locked after wrong passwords (tr87proxy unlock lists locks)"
	case 404:
		return "the server has no such line"
	case 486:
		return "too many sessions: limits.sessions-per-identity"
	case 503:
		return "not ready, or busy: retry after Retry-After"
	}
	return ""
}

func (c *connection) close() {
	if c.lent {
		return
	}
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.ua.Shutdown(ctx)
}

// do sends one request and waits for its response.
func (c *connection) do(ctx context.Context, req any) (*uacsta.Message, error) {
	m, ok := req.(*uacsta.Message)
	if !ok {
		m = uacsta.Encode(req, uacsta.Edition3)
	}
	ctx, cancel := context.WithTimeout(ctx, c.flags.timeout)
	defer cancel()
	return c.Request(ctx, m)
}

// show writes a message as text, or as it is for programs.
func (c *connection) show(m *uacsta.Message) {
	if m == nil { // the request has no response
		return
	}
	if c.flags.inJSON() {
		line, _ := m.MarshalJSON() // every message has a form
		fmt.Fprintf(c.out, "%s\n", line)
		return
	}
	fmt.Fprintln(c.out, describe(m, c.monitored))
}

// event writes a message of a monitor: as a line for people, or for programs with its time and the monitor's device.
func (c *connection) event(m *uacsta.Message) {
	device := c.monitored[m.CrossRef()]
	c.names.learn(m)
	if !c.flags.inJSON() {
		fmt.Fprintln(c.out, c.flags.painter().paint(colourOf(m), narrate(m, device, c.names, time.Now())))
		return
	}
	message, _ := m.MarshalJSON() // every message has a form
	about, _ := json.Marshal(struct {
		Time   time.Time `json:"time"`
		Device string    `json:"device,omitempty"`
	}{time.Now(), device})
	fmt.Fprintf(c.out, "%s,%s\n", bytes.TrimSuffix(about, []byte("}")), bytes.TrimPrefix(message, []byte("{")))
}

// tracer writes SIP messages, without passwords and values derived from them.
func tracer(w io.Writer) func(sip.Traced) {
	return func(m sip.Traced) {
		arrow := "<<<"
		if m.Out {
			arrow = ">>>"
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s %s\n", arrow, time.Now().Format("15:04:05.000"), m.Peer)
		for line := range strings.Lines(string(sip.Conceal(m.Data, uacsta.Conceal))) {
			b.WriteString(printable(strings.TrimRight(line, "\r\n")) + "\n")
		}
		fmt.Fprint(w, b.String())
	}
}
