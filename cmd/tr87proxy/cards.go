package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/ctserver"
	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// cards makes a link to the ports of cards behind ctserver.
func (n *node) cards(l config.Link) proxy.Link {
	cfg := ctserver.LinkConfig{
		Address: l.Addresses[0], Manager: l.Manager, Flash: ctserver.Flash(l.Flash), AnswerTime: l.AnswerTime, RingTime: l.RingTime, CallerTime: l.CallerTime,
		Timeout: l.Timeout, Heartbeat: l.Heartbeat, Log: n.linkLog(l.Name),
	}
	for _, p := range l.Ports {
		cfg.Ports = append(cfg.Ports, ctserver.Port(p))
	}
	return ctserver.NewLink(cfg)
}

// serveCard makes the first phones look like the ports of a card, until ctx ends or a program
// shuts it down. The last address is that of the manager connection. It returns once all are
// listened at.
func (n *node) serveCard(ctx context.Context, group *sync.WaitGroup, out io.Writer, addresses []string, shutdown func()) error {
	card := ctserver.NewCard(ctserver.CardConfig{
		Proxy: n.core, Identify: n.identify(proxy.SessionsOff), Devices: simulated()[:len(addresses)-1], Gate: gate.Config{Admits: n.admits, Strangers: n.strangers},
		Ring: time.Second, Shutdown: shutdown, Log: n.log,
	})
	for i, address := range addresses {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		port, what := i+1, fmt.Sprintf("card port %d, phone %d", i+1, 100+i)
		if i == len(addresses)-1 {
			port, what = 0, "manager connection"
		}
		fmt.Fprintf(out, "  listening at %s (%s)\n", l.Addr(), what)
		group.Go(func() { _ = card.Serve(ctx, l, port) }) // it ends with ctx
	}
	return nil
}
