package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/api"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func demoCommand() *cobra.Command {
	var once, phones bool
	var port, phonePort int
	var api demoAPI
	cmd := &cobra.Command{
		Use: "demo", Short: "Watch a TR/87 client control phones on the built-in switch", GroupID: "server", Args: exactly(0), Annotations: map[string]string{noJSON: "it shows people a call; tr87proxy monitor --json shows programs one"},
		Long: `demo runs the proxy on loopback with the virtual phones 100, 101 and 102 of the built-in
switch. A TR/87 client connects over real SIP, places a call, holds, retrieves, consults,
transfers and clears it. Then demo waits for your own client, and serves HTTP (docs/api.md)
and a console for browsers (docs/console.md).
With --once it exits after
the call, with status 0 only if every step followed the call model.

With --phones it serves two real SIP telephones, 100 and 101, instead. It says how to
register them, and controls a call between them.

With --webhook it POSTs all events to a URL of yours, which may be on this machine, and writes
warnings, such as that it cannot reach the URL, to the standard error. With --socket, "status"
and "webhooks" with the same flag show how it is doing.`,
		Example: `  tr87proxy demo
  tr87proxy demo --once
  tr87proxy demo --phones
  tr87proxy demo --port 15062 --api 127.0.0.1:18880 --console 127.0.0.1:18870
  tr87proxy demo --webhook http://127.0.0.1:9000/ --socket demo.sock`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port == 0 && !once {
				port = 5062
			}
			if once {
				api.address, api.console.address = "", ""
			}
			if err := api.check(); err != nil {
				return err
			}
			defer api.console.close()
			if api.webhook != "" {
				api.log = cmd.ErrOrStderr()
			}
			if phones {
				return demoPhones(cmd.Context(), cmd.OutOrStdout(), port, phonePort, &api, once)
			}
			return demo(cmd.Context(), cmd.OutOrStdout(), port, &api, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "exit after the call")
	cmd.Flags().BoolVar(&phones, "phones", false, "serve two real SIP telephones")
	cmd.Flags().IntVar(&phonePort, "phone-port", 5060, "port on 127.0.0.1 at which telephones register")
	cmd.Flags().StringVar(&api.address, "api", apiAddress, apiUsage)
	cmd.Flags().StringVar(&api.console.address, "console", consoleAddress, consoleUsage)
	cmd.Flags().StringVar(&api.webhook, "webhook", "", "URL to which all events are POSTed (docs/api.md)")
	cmd.Flags().StringVar(&api.socket, "socket", "", "admin socket, a file")
	_ = cmd.MarkFlagFilename("socket")
	cmd.Flags().IntVar(&port, "port", 0, "SIP port on 127.0.0.1 (default 5062, with --once any free one)")
	return cmd
}

// apiAddress is where demo and simulate serve HTTP by default.
const (
	apiAddress = "127.0.0.1:8880"
	apiUsage   = "serve HTTP here (docs/api.md); \"\" for not at all"
)

// demoAPI is the HTTP interface of a demonstration, and how to see what it does.
type demoAPI struct {
	address, webhook, socket string

	console demoConsole
	log     io.Writer // of warnings; nil: none
}

// hooks returns the webhook, which may have a private address: who runs the demonstration has named it.
func (d *demoAPI) hooks() []webhook.Hook {
	if d.webhook == "" {
		return nil
	}
	return []webhook.Hook{{Name: "demo", URL: d.webhook, Private: true}}
}

// check reports a webhook that cannot be used.
func (d *demoAPI) check() (err error) {
	for _, h := range d.hooks() {
		h.Check(func(key, text string) { err = usageError{fmt.Errorf("--webhook: %s %s", key, text)} })
	}
	return err
}

// serve has a configuration serve the interface.
func (d *demoAPI) serve(cfg *config.Config) error {
	cfg.Log.Level, cfg.Admin.Socket = "warn", d.socket
	serveAPI(cfg, d.address)
	cfg.Front("api").(*api.Settings).Webhooks = d.hooks()
	return d.console.serve(cfg)
}

// serveAPI has a configuration serve HTTP at an address; "" is nowhere.
func serveAPI(cfg *config.Config, address string) {
	if address != "" {
		cfg.Front("api").(*api.Settings).Listen = []config.Listener{{Transport: "tcp", Address: address}}
	}
}

func demo(ctx context.Context, out io.Writer, port int, web *demoAPI, once bool) error {
	cfg := daemon.Default()
	cfg.Demo = true
	cfg.Operations.Address = ""
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cfg.Front("sip").(*tr87.FrontSettings).Listen = []config.Listener{{Transport: "tcp", Address: address}, {Transport: "udp", Address: address}}
	if err := web.serve(cfg); err != nil {
		return err
	}
	cfg.Numbers.Main = "+14255550"
	cfg.Switch.Extensions = []config.Extension{{Number: "100", Name: "Your line", Outside: []string{"0"}}, {Number: "101", Name: "Alice"}, {Number: "102", Name: "Bob"}}
	members := []string{"100", "101", "102"}
	cfg.Switch.HuntGroups = []config.HuntGroup{{Number: "200", Members: members}}
	cfg.Switch.Queues = []config.Queue{{Number: "300"}}
	cfg.Switch.Park = []config.ParkDevice{{Number: "400"}}
	cfg.Switch.PickupGroups = []config.PickupGroup{{Number: "500", Members: members}}
	cfg.Switch.Routeing = []config.RouteingDevice{{Number: "600", Default: "300"}}
	cfg.Switch.Trunks = []config.Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: []config.Inward{{Number: "5550100", To: "100"}}, Answer: 3 * time.Second}}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served, stopped, err := runDemo(ctx, cfg, web.log, "is another proxy running? try --port 15062 --api 127.0.0.1:18880 --console 127.0.0.1:18870")
	if err != nil {
		return err
	}
	address = served["tcp"]
	result := playCall(ctx, out, address)
	if once || result != nil {
		stop()
		return errors.Join(result, <-stopped)
	}
	fmt.Fprintf(out, `
The proxy stays up on %[1]s (TCP and UDP). Connect your own client:
  SIP server    sip:tr87proxy@%[1]s;transport=tcp     no password, any From
  devices       100, 101, 102 (also as tel:+14255550100 ...); hunt group 200, queue 300,
                park device 400, pickup group 500, routeing device 600, and numbers
                that begin with 0 lead outside
Or use this program in another terminal:
  tr87proxy monitor 100 101 --server "sip:tr87proxy@%[1]s;transport=tcp"
  tr87proxy call 100 101    --server "sip:tr87proxy@%[1]s;transport=tcp"
  tr87proxy answer 101      --server "sip:tr87proxy@%[1]s;transport=tcp"
%[2]sPress Ctrl-C to stop.
`, address, hintOfAPI(served["api/tcp"])+web.console.hint(served["console/tcp"]))
	return <-stopped
}

// runDemo runs the proxy until ctx ends, and returns once it listens, with the address of each listener by its transport. log
// can be nil. hint says what to do if it cannot.
func runDemo(ctx context.Context, cfg *config.Config, log io.Writer, hint string) (served map[string]string, stopped <-chan error, err error) {
	addresses := make(chan [2]string, 8)
	n, err := daemon.New(cfg, daemon.Options{Version: version(), Play: true, Log: log, Listening: func(transport, address string) { addresses <- [2]string{transport, address} }})
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	served = map[string]string{}
	for len(served) < len(n.Servers()) {
		select {
		case at := <-addresses:
			served[at[0]] = at[1]
		case err := <-ended:
			return nil, nil, fmt.Errorf("%w (%s)", err, hint)
		}
	}
	return served, ended, nil
}

// hintOfAPI returns how to begin with HTTP; "" if it is not served.
func hintOfAPI(address string) string {
	if address == "" {
		return ""
	}
	return fmt.Sprintf(`Or use HTTP: http://%[1]s/ describes it.
  curl -N "http://%[1]s/v1/events?devices=101"
  curl --json '{"to":"101"}' http://%[1]s/v1/devices/100/calls
`, address)
}

// play is the demonstration: a client, the events that it got, and a ladder diagram of them.
type play struct {
	out    io.Writer
	client *tr87.Client
	events chan *uacsta.Message
	refs   map[string]string // cross reference -> device

	mu sync.Mutex
}

const demoPatience = 10 * time.Second

func (p *play) line(arrow, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "  |%s|  %s\n", arrow, text)
}

const (
	toProxy   = "------- INFO ------>"
	fromProxy = "<------ 200 OK -----"
	eventLine = "<====== INFO ======="
)

// playCall connects a client and plays the call.
func playCall(ctx context.Context, out io.Writer, address string) error {
	ua := sip.New(sip.Config{UserAgent: "tr87proxy-demo"})
	defer ua.Close()
	p := &play{out: out, events: make(chan *uacsta.Message, 256), refs: map[string]string{}}
	fmt.Fprintf(out, "client %s tr87proxy on %s, built-in switch with 100, 101, 102\n\n", strings.Repeat(" ", 12), address)
	p.line("------ INVITE ----->", "RequestSystemStatus, line tel:+14255550100")
	opening, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	client, err := tr87.Open(opening, ua, tr87.Dial{
		To: "sip:tr87proxy@" + address + ";transport=tcp", From: "sip:demo@localhost", Line: "tel:+14255550100",
		Event: func(m *uacsta.Message) { p.events <- m },
	})
	if err != nil {
		return err
	}
	p.client = client
	p.line(fromProxy, "RequestSystemStatusResponse: normal")
	if err := p.script(ctx); err != nil {
		return err
	}
	p.line("------- BYE ------->", "")
	client.Close()
	fmt.Fprintln(out, "\nEvery step followed the call model.")
	return nil
}

// request sends a request and shows it with its response.
func (p *play) request(ctx context.Context, req any, what string) (*uacsta.Message, error) {
	p.line(toProxy, what)
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	res, err := p.client.Request(ctx, uacsta.Encode(req, uacsta.Edition3))
	if err != nil {
		p.line(fromProxy, "refused: "+err.Error())
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	p.line(fromProxy, describe(res, nil))
	return res, nil
}

// step is an expected event: the device of the monitor, the event, the connection, its state,
// and the cause.
type step struct{ at, event, device, local, cause string }

// expect waits for events in order, at each monitor. The order between monitors
// is not part of the model.
func (p *play) expect(ctx context.Context, call string, steps ...step) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	for len(steps) > 0 {
		var m *uacsta.Message
		select {
		case m = <-p.events:
		case <-ctx.Done():
			return fmt.Errorf("%s at %s did not come", steps[0].event, steps[0].at)
		}
		got := step{p.refs[m.CrossRef()], strings.TrimSuffix(m.Name(), "Event"), "", m.Text("localConnectionInfo"), m.Text("cause")}
		callID := ""
		if c := m.Connections(); len(c) > 0 {
			got.device, callID = c[0].DeviceID(), c[0].CallID()
		}
		p.line(eventLine, fmt.Sprintf("%-17s (%s, %s)  at %s: %s  cause %s", got.event, callID, got.device, got.at, got.local, got.cause))
		found := false
		for i, want := range steps {
			if want.at != got.at {
				continue
			}
			if want != got || callID != call {
				return fmt.Errorf("at %s: got %v of call %s, want %v of call %s", got.at, got, callID, want, call)
			}
			steps = append(append([]step{}, steps[:i]...), steps[i+1:]...)
			found = true
			break
		}
		if !found {
			return fmt.Errorf("unexpected %v", got)
		}
	}
	return nil
}

// own returns the demo's line as its client writes it.
const own = "tel:+14255550100"

func (p *play) script(ctx context.Context) error {
	features, err := p.request(ctx, uacsta.GetCSTAFeatures{}, uacsta.NameGetCSTAFeatures)
	if err != nil {
		return err
	}
	if n := len(features.Features().Profiles()); n < 2 {
		return fmt.Errorf("the features fulfil %d profiles of TR/87, want minimal and basic call control", n)
	}
	for _, device := range []string{own, "101", "102"} {
		object := uacsta.Dev(device)
		res, err := p.request(ctx, uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, "MonitorStart "+device)
		if err != nil {
			return err
		}
		p.refs[res.CrossRef()] = map[string]string{own: "100", "101": "101", "102": "102"}[device]
	}
	res, err := p.request(ctx, uacsta.MakeCall{
		CallingDevice: uacsta.Dev(own), CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: uacsta.DoNotPrompt,
	}, "MakeCall "+own+" -> 101")
	if err != nil {
		return err
	}
	x := res.Connections()[0].CallID()
	if res.Connections()[0].DeviceID() != own {
		return fmt.Errorf("MakeCallResponse names %s, want the line as the client wrote it", res.Connections()[0].DeviceID())
	}
	first, second := uacsta.Conn(x, own), uacsta.Conn(x, "101")
	if err := p.expect(
		ctx, x,
		step{"100", "ServiceInitiated", own, "initiated", "makeCall"}, step{"100", "Originated", own, "connected", "newCall"},
		step{"100", "Delivered", "101", "connected", "newCall"}, step{"101", "Delivered", "101", "alerting", "newCall"},
	); err != nil {
		return err
	}
	for _, s := range []struct {
		req   any
		what  string
		steps []step
	}{
		{uacsta.AnswerCall{CallToBeAnswered: second}, "AnswerCall 101", []step{{"100", "Established", "101", "connected", "newCall"}, {"101", "Established", "101", "connected", "newCall"}}},
		{uacsta.HoldCall{CallToBeHeld: first}, uacsta.NameHoldCall, []step{{"100", "Held", own, "hold", "normal"}, {"101", "Held", own, "connected", "normal"}}},
		{uacsta.RetrieveCall{CallToBeRetrieved: first}, uacsta.NameRetrieveCall, []step{{"100", "Retrieved", own, "connected", "normal"}, {"101", "Retrieved", own, "connected", "normal"}}},
	} {
		if _, err := p.request(ctx, s.req, s.what); err != nil {
			return err
		}
		if err := p.expect(ctx, x, s.steps...); err != nil {
			return err
		}
	}
	return p.consultAndTransfer(ctx, x)
}

// consultAndTransfer calls 102 while 101 is on hold and joins the two.
func (p *play) consultAndTransfer(ctx context.Context, x string) error {
	first := uacsta.Conn(x, own)
	res, err := p.request(ctx, uacsta.ConsultationCall{ExistingCall: first, ConsultedDevice: uacsta.Dev("102")}, "ConsultationCall 102")
	if err != nil {
		return err
	}
	y := res.Connections()[0].CallID()
	if err := p.expect(ctx, x, step{"100", "Held", own, "hold", "consultation"}, step{"101", "Held", own, "connected", "consultation"}); err != nil {
		return err
	}
	if err := p.expect(
		ctx, y,
		step{"100", "ServiceInitiated", own, "initiated", "consultation"}, step{"100", "Originated", own, "connected", "consultation"},
		step{"100", "Delivered", "102", "connected", "consultation"}, step{"102", "Delivered", "102", "alerting", "consultation"},
	); err != nil {
		return err
	}
	if _, err := p.request(ctx, uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(y, "102")}, "AnswerCall 102"); err != nil {
		return err
	}
	if err := p.expect(ctx, y, step{"100", "Established", "102", "connected", "newCall"}, step{"102", "Established", "102", "connected", "newCall"}); err != nil {
		return err
	}
	res, err = p.request(ctx, uacsta.TransferCall{HeldCall: first, ActiveCall: uacsta.Conn(y, own)}, uacsta.NameTransferCall)
	if err != nil {
		return err
	}
	z := res.Connections()[0].CallID()
	if err := p.expect(
		ctx, x,
		step{"100", "Transfered", own, "null", "transfer"}, step{"101", "Transfered", own, "connected", "transfer"}, step{"102", "Transfered", own, "connected", "transfer"},
	); err != nil {
		return err
	}
	if _, err := p.request(ctx, uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(z, "101")}, "ClearConnection 101"); err != nil {
		return err
	}
	if err := p.expect(
		ctx, z,
		step{"101", "ConnectionCleared", "101", "null", "normalClearing"},
		step{"102", "ConnectionCleared", "101", "connected", "normalClearing"}, step{"102", "ConnectionCleared", "102", "null", "normalClearing"},
	); err != nil {
		return err
	}
	for ref, device := range p.refs {
		if _, err := p.request(ctx, uacsta.MonitorStop{MonitorCrossRefID: ref}, "MonitorStop "+device); err != nil {
			return err
		}
	}
	return nil
}
