package front

import (
	"maps"
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Dialect says how the clients of one listener differ from others.
type Dialect struct {
	Port, TLSPort string               // of addresses without a port
	Greets        bool                 // the proxy speaks first: its clients wait for SystemStatus. They speak CSTA-XML with headers only
	Coded         bool                 // messages of WebSockets may have their header in base64
	Originate     uacsta.AutoOriginate // of a MakeCall without autoOriginate; "": the switch decides, and most prompt

	words func(*Server, *association) vocabulary // what a client says beyond the standard; nil: nothing
}

// vocabulary is what one client says beyond the standard.
type vocabulary interface {
	// read brings a request of the client into the standard's form.
	read(req *uacsta.Message) asked
	// write brings a message for the client into the dialect's form and returns it. It may be called at the same time as read.
	write(m *uacsta.Message) *uacsta.Message
	// left is called when the connection has ended. It reports whether the client may come back to its session.
	left() (returns bool)
}

// asked is what a client has asked for.
type asked struct {
	req  *uacsta.Message                           // in the standard's form
	own  ownRequest                                // carries it out; nil: the core does
	done func(res *uacsta.Message, respond func()) // takes the response, and calls respond to let the client have it; nil: nothing to do
}

// ownRequest carries out a request for proxy.Session.Own.
type ownRequest func(answer func(*uacsta.Message, error))

// dialects are the known dialects, by their name in the configuration.
var dialects = map[string]Dialect{
	"plain":     {Port: "8882", TLSPort: "8883"},
	"openscape": {Port: "1040", TLSPort: "1040", Greets: true, Originate: uacsta.DoNotPrompt},
	"dmcc":      {Port: "4721", TLSPort: "4722", Originate: uacsta.DoNotPrompt, words: newAvaya},
	"zultys":    {Port: "8882", TLSPort: "8883", Coded: true, Originate: uacsta.DoNotPrompt, words: newZultys},
}

// DialectNames returns the names of the dialects, sorted.
func DialectNames() []string { return slices.Sorted(maps.Keys(dialects)) }

// dialectOf returns the dialect of a listener, by its keys in the configuration, which may be empty.
func dialectOf(name string, originate uacsta.AutoOriginate) Dialect {
	d := dialects[name]
	if originate != "" {
		d.Originate = originate
	}
	return d
}

// read brings a request of a client into the standard's form.
func (d *Dialect) read(req *uacsta.Message) {
	if d.Originate != "" && req.Name() == uacsta.NameMakeCall {
		req.Default("autoOriginate", string(d.Originate))
	}
}
