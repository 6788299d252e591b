// Command api measures how tr87proxy delivers events to many clients over HTTP, beside a plain program with the same
// libraries that sends the same octets to as many clients. In alternating rounds virtual telephones of the built-in
// switch make calls, which requests over HTTP place and clear; then the plain program gets the events of that round, at
// the same intervals. scripts/bench --api runs it:
//
//	api [flags] TR87PROXY
//
// The program starts itself as the plain program ("api peer").
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

// setting is what is measured.
type setting struct {
	program string // path of tr87proxy
	clients int
	devices int // half of them call the other half
	rate    int // calls a second
	time    time.Duration
	all     bool // every client watches every device
	sse     bool // Server-Sent Events
	rounds  int
	pprof   string // file for a CPU profile of the proxy
	maxCPU  float64
	maxIdle float64
}

func main() {
	var s setting
	flag.IntVar(&s.clients, "clients", 1000, "clients; each watches one device")
	flag.IntVar(&s.devices, "devices", 100, "devices; half of them call the other half")
	flag.IntVar(&s.rate, "rate", 200, "calls a second")
	flag.DurationVar(&s.time, "time", 10*time.Second, "how long calls are placed in a round")
	flag.BoolVar(&s.all, "all", false, "every client watches every device")
	flag.BoolVar(&s.sse, "sse", false, "Server-Sent Events instead of WebSockets")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds; 0: only the memory of idle clients")
	flag.StringVar(&s.pprof, "cpuprofile", "", "write a CPU profile of the proxy in the last round to this file")
	flag.Float64Var(&s.maxCPU, "max-cpu", 0, "fail above this ratio of CPU time for a delivered event; 0: never")
	flag.Float64Var(&s.maxIdle, "max-idle", 0, "fail above so many KiB of memory for an idle client; 0: never")
	flag.Parse()
	if err := s.serve(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// serve is the plain program, or measures.
func (s *setting) serve(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch {
	case len(args) == 3 && args[0] == "peer":
		return servePeer(args[1], args[2])
	case len(args) == 1:
		s.program = args[0]
		return s.run(ctx)
	}
	return errors.New("name the program tr87proxy")
}

// run measures, and prints what it has found.
func (s *setting) run(ctx context.Context) error {
	idle, err := s.idle(ctx)
	if err != nil {
		return err
	}
	what := "WebSocket"
	if s.sse {
		what = "SSE"
	}
	fmt.Printf("%d idle %s clients: %.1f KiB of resident memory each; of the plain program %.1f KiB: ratio %.2f\n", s.clients, what, idle[0], idle[1], idle[0]/idle[1])
	if s.rounds > 0 {
		if err := s.compare(ctx, what); err != nil {
			return err
		}
	}
	if s.maxIdle > 0 && idle[0] > s.maxIdle {
		return fmt.Errorf("an idle client takes %.1f KiB, more than %.1f", idle[0], s.maxIdle)
	}
	return nil
}

// idle returns the memory of an idle client in the proxy, and in the plain program, in KiB: the median of alternating
// starts of both, because it depends on when the collector of garbage last ran.
func (s *setting) idle(ctx context.Context) (kib [2]float64, err error) {
	var all [2][]float64
	for range max(s.rounds, 3) {
		for i, start := range []func(context.Context, *setting) (*server, error){startProxy, startPeer} {
			one, err := s.idleAt(ctx, start)
			if err != nil {
				return kib, err
			}
			all[i] = append(all[i], one)
		}
	}
	return [2]float64{median(all[0]), median(all[1])}, nil
}

// idleAt returns the memory of an idle client in a program that has just been started.
func (s *setting) idleAt(ctx context.Context, start func(context.Context, *setting) (*server, error)) (float64, error) {
	p, err := start(ctx, s)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	before := p.resident()
	c, err := s.connect(ctx, p.address)
	if err != nil {
		return 0, err
	}
	defer c.close()
	time.Sleep(2 * time.Second) // for what is only needed at the beginning
	return float64(p.resident()-before) / float64(s.clients) / 1024, nil
}

// figures are those of one round at one server.
type figures struct {
	calls, refused int           // of the proxy
	idle           time.Duration // CPU time for the calls alone
	cpu            time.Duration
	events         int           // delivered
	delay          []int32       // from the event's time to its receipt, in microseconds
	since          []int32       // from the request that places a call to the receipt of delivered
	took           time.Duration // the round
}

// compare measures in alternating rounds.
func (s *setting) compare(ctx context.Context, what string) error {
	proxy, err := startProxy(ctx, s)
	if err != nil {
		return err
	}
	defer proxy.stop()
	peer, err := startPeer(ctx, s)
	if err != nil {
		return err
	}
	defer peer.stop()
	watched := "one device"
	if s.all {
		watched = "every device"
	}
	fmt.Printf("%d %s clients, each watches %s of %d; %d calls a second wanted\n", s.clients, what, watched, s.devices, s.rate)
	fmt.Printf("%-6s %8s %9s %9s | %28s | %28s | %6s %6s | %s\n", "round", "calls/s", "events/s", "octets", "tr87proxy us/event, p50, p99", "plain us/event, p50, p99 ms", "ratio", "alone", "from the request: p50, p99 ms; load")
	var ratios, alone, p50, p99 []float64
	for round := 1; round <= s.rounds; round++ {
		profile := ""
		if round == s.rounds {
			profile = s.pprof
		}
		own, events, err := s.proxyRound(ctx, proxy, profile)
		if err != nil {
			return err
		}
		plain, err := s.peerRound(ctx, peer, events)
		if err != nil {
			return err
		}
		if own.events != plain.events {
			return fmt.Errorf("the proxy has delivered %d events, the plain program %d", own.events, plain.events)
		}
		per := func(f figures, t time.Duration) float64 { return float64(t.Microseconds()) / float64(f.events) }
		ratio, only := per(own, own.cpu)/per(plain, plain.cpu), per(own, own.cpu-own.idle)/per(plain, plain.cpu)
		ratios, alone = append(ratios, ratio), append(alone, only)
		p50, p99 = append(p50, at(own.delay, 50)/at(plain.delay, 50)), append(p99, at(own.delay, 99)/at(plain.delay, 99))
		fmt.Printf("%-6d %8.0f %9.0f %9d | %12.1f %7.1f %7.1f | %12.1f %7.1f %7.1f | %6.2f %6.2f | %.1f %.1f; %s\n", round,
			float64(own.calls)/own.took.Seconds(), float64(own.events)/own.took.Seconds(), sizeOf(events), per(own, own.cpu), at(own.delay, 50), at(own.delay, 99),
			per(plain, plain.cpu), at(plain.delay, 50), at(plain.delay, 99), ratio, only, at(own.since, 50), at(own.since, 99), load())
		if own.refused > 0 {
			fmt.Printf("       %d calls were refused\n", own.refused)
		}
	}
	fmt.Printf("%s: CPU per delivered event %.2f of the plain program's, %.2f without the calls themselves; latency p50 %.1f, p99 %.1f (medians of %d rounds)\n",
		what, median(ratios), median(alone), median(p50), median(p99), s.rounds)
	if s.maxCPU > 0 && median(alone) > s.maxCPU {
		return errors.New("too much CPU time for an event")
	}
	return nil
}

// at returns a percentile of microseconds, in milliseconds.
func at(list []int32, percent int) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return float64(list[(len(list)-1)*percent/100]) / 1000
}

func median[T cmp.Ordered](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[(len(list)-1)/2]
}

// sizeOf returns how many octets an event has on average.
func sizeOf(events []occurrence) int {
	sum := 0
	for _, e := range events {
		sum += len(e.data)
	}
	return sum / max(len(events), 1)
}
