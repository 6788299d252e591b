package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/internal/operations"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// adminSocket has the flags that name the admin socket of a running proxy.
type adminSocket struct{ path, config string }

func (a *adminSocket) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&a.path, "socket", "", "admin socket of the proxy (default: that of the configuration)")
	cmd.PersistentFlags().StringVarP(&a.config, "config", "c", "config.yaml", "configuration file")
	_ = cmd.MarkPersistentFlagFilename("socket")
	_ = cmd.MarkPersistentFlagFilename("config", "yaml", "yml")
}

func (a *adminSocket) ask(ctx context.Context, method, path string, into any) error {
	socket := a.path
	if socket == "" {
		named, err := daemon.AdminSocket(a.config)
		var faults config.Faults
		if errors.As(err, &faults) {
			return usageError{fmt.Errorf("%w\nname the proxy's socket with --socket", err)}
		}
		if err != nil {
			return usageError{fmt.Errorf("%w; name the proxy's socket with --socket", err)}
		}
		if socket = named; socket == "" {
			return usageError{fmt.Errorf("%s names no admin socket; write for example: admin: {socket: /run/tr87proxy/admin.sock}", a.config)}
		}
	}
	return operations.AskAdmin(ctx, socket, method, path, into)
}

func statusCommand() *cobra.Command {
	var socket adminSocket
	var sessions, devices bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the state of a running proxy", GroupID: "server", Args: exactly(0),
		Long: `status shows the listeners and links of a running proxy, the number of clients and monitored
devices, and webhooks that need attention; with --sessions and --devices, each client and device.`,
		Example: `  tr87proxy status -c /etc/tr87proxy/config.yaml
  tr87proxy status --sessions --devices
  tr87proxy status --json --socket /run/tr87proxy/admin.sock`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, wanted := range map[string]bool{"sessions": sessions, "devices": devices} {
				if wanted {
					query.Set(name, "")
				}
			}
			var st daemon.Status
			if err := socket.ask(cmd.Context(), http.MethodGet, "/status?"+query.Encode(), &st); err != nil {
				return err
			}
			return write(cmd, st, func(out io.Writer) error {
				return printStatus(out, &st, sessions, devices, time.Now(), painterFor(cmd, out))
			})
		},
	}
	socket.flags(cmd)
	cmd.Flags().BoolVar(&sessions, "sessions", false, "list the clients")
	cmd.Flags().BoolVar(&devices, "devices", false, "list the monitored devices")
	return cmd
}

// printStatus writes the state as text.
func printStatus(out io.Writer, st *daemon.Status, sessions, devices bool, now time.Time, p painter) error {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	age := func(t time.Time) string { return now.Sub(t).Round(time.Second).String() }
	coloured := func(c colour, cells ...any) {
		text := make([]string, len(cells))
		for i, c := range cells {
			text[i] = printable(fmt.Sprint(c))
		}
		fmt.Fprintln(w, strings.Join(text, "\t")+beforeColour+string(c))
	}
	row := func(cells ...any) { coloured(uncoloured, cells...) }
	fmt.Fprintf(w, "tr87proxy %s, running for %s\n\n", st.Version, age(st.Started))
	row("LISTENER", "PROTOCOL", "ADDRESS", "STATE")
	for _, s := range st.Servers {
		state := map[bool]string{true: "open", false: "stopped"}[s.Serves]
		c := map[bool]colour{true: good, false: busy}[s.Serves]
		if s.Failure != "" {
			state, c = "failed: "+s.Failure, bad
		}
		coloured(c, s.Name, s.Protocol+"/"+s.Transport, s.Address, state)
	}
	fmt.Fprintln(w)
	row("LINK", "STATE", "FOR", "MONITORS", "")
	for _, l := range st.Core.Links {
		state, c := "down", bad
		if l.Up {
			state, c = "up, "+l.Status, good
		}
		coloured(c, l.Name, state, age(l.Since), l.Monitors, l.Failure)
	}
	if len(st.Applications) > 0 {
		fmt.Fprintln(w)
		row("APPLICATION", "AS", "STATE", "FOR", "")
		for _, a := range st.Applications {
			coloured(map[bool]colour{true: good, false: bad}[a.Up], a.URL, a.As, map[bool]string{true: "connected", false: "not connected"}[a.Up], age(a.Since), a.Failure)
		}
	}
	fmt.Fprintf(w, "\n%s, %s, %s at the links", counted(int64(st.Core.Sessions), "session", "sessions"), counted(int64(st.Core.Applications), "application session", "application sessions"), counted(int64(st.Core.Monitors), "monitor", "monitors"))
	if slices.ContainsFunc(st.Core.Links, func(l proxy.LinkStatus) bool { return !l.Up && l.Monitors > 0 }) {
		fmt.Fprint(w, "; those of a link that is down start when it comes up")
	}
	fmt.Fprintln(w)
	if st.Phones != nil {
		fmt.Fprintf(w, "%d extensions with a telephone that can be reached, %d telephones in calls\n", st.Phones.Reachable, st.Phones.Legs)
	}
	if st.Reload.Failure != "" {
		holds := "the configuration of " + st.Reload.Loaded.Format(time.RFC3339) + " holds"
		if st.Reload.Partly {
			holds = "its configuration holds, but for the listeners that it could not open"
		}
		coloured(bad, fmt.Sprintf("the last reload failed %s ago; %s:", age(st.Reload.Failed), holds))
		for _, line := range strings.Split(st.Reload.Failure, "\n") {
			coloured(bad, "  "+line)
		}
	}
	if c := st.Webhooks; c != nil && (c.Disabled+c.Failing+c.NoRoom+c.Letters > 0) {
		coloured(busy, fmt.Sprintf("%s: failing %d, disabled %d, waiting for room %d; dead letters: %d; tr87proxy webhooks list shows more", counted(int64(c.All), "webhook", "webhooks"), c.Failing, c.Disabled, c.NoRoom, c.Letters))
	}
	if st.Locks > 0 {
		coloured(busy, fmt.Sprintf("%d names are locked after wrong passwords: tr87proxy unlock lists them", st.Locks))
	}
	if st.Audit != nil {
		lines := auditLines(st.Audit, time.Now())
		for i, line := range lines { // the last one has no trouble
			coloured(map[bool]colour{true: bad}[i < len(lines)-1], line)
		}
	}
	if sessions {
		fmt.Fprintln(w)
		row("CLIENT", "PEER", "LINE", "FOR", "MONITORS", "WAITING")
		for _, s := range st.Sessions {
			row(s.Identity, s.Peer, s.Line, age(s.Since), s.Monitors, s.Queue)
		}
	}
	if devices {
		fmt.Fprintln(w)
		row("DEVICE", "CALL", "LINK", "CLIENTS", "")
		for _, d := range st.Devices {
			coloured(map[bool]colour{false: busy}[d.Active], d.Device, d.Call, d.Link, d.Clients, map[bool]string{true: "", false: "waits for the link"}[d.Active])
		}
	}
	if devices && st.Phones != nil {
		fmt.Fprintln(w)
		row("TELEPHONE", "PEER", "FOR", "")
		for _, t := range st.Phones.Telephones {
			coloured(map[bool]colour{false: bad}[t.Reachable], t.Number, t.Peer, t.Expires.Sub(now).Round(time.Second), map[bool]string{true: "", false: "does not answer"}[t.Reachable])
		}
	}
	_ = w.Flush() // to memory
	for line := range strings.Lines(text.String()) {
		shown, c, _ := strings.Cut(strings.TrimSuffix(line, "\n"), beforeColour)
		if _, err := fmt.Fprintln(out, p.paint(colour(c), shown)); err != nil {
			return err
		}
	}
	return nil
}

// beforeColour stands between a line of the status and its colour, until its columns are aligned. printable leaves none in the
// line itself.
const beforeColour = "\x1e"

func serverCommand() *cobra.Command {
	var socket adminSocket
	cmd := &cobra.Command{
		Use: "server", Short: "Open and close listeners of a running proxy", GroupID: "server",
		Long: `server opens and closes single listeners of a running proxy, by the names that status
shows. A listener that is stopped closes the sessions of its clients. It stays closed until
it is started, or the proxy restarts.`,
		Example: `  tr87proxy server stop xml-tcp
  tr87proxy server start xml-tcp`,
		Args: noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	socket.flags(cmd)
	for _, what := range []string{"start", "stop"} {
		cmd.AddCommand(&cobra.Command{
			Use: what + " NAME", Short: strings.ToUpper(what[:1]) + what[1:] + " a listener", Args: exactly(1),
			Long:    what + " " + map[string]string{"start": "opens a listener of a running proxy again.", "stop": "closes a listener of a running proxy, and the sessions of its clients."}[what],
			Example: "  tr87proxy server " + what + " sip-udp -c /etc/tr87proxy/config.yaml",
			RunE: func(cmd *cobra.Command, args []string) error {
				return socket.ask(cmd.Context(), http.MethodPost, "/servers/"+url.PathEscape(args[0])+"/"+what, &struct{}{})
			},
			ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				var st daemon.Status
				if len(args) > 0 || socket.ask(cmd.Context(), http.MethodGet, "/status", &st) != nil {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				var names []string
				for _, s := range st.Servers {
					if s.Serves == (what == "stop") {
						names = append(names, s.Name)
					}
				}
				return names, cobra.ShellCompDirectiveNoFileComp
			},
		})
	}
	return cmd
}

func reloadCommand() *cobra.Command {
	var socket adminSocket
	var dryRun bool
	cmd := &cobra.Command{
		Use: "reload", Short: "Make a running proxy read its configuration again", GroupID: "server", Args: exactly(0),
		Long: `reload makes a running proxy read its configuration again, and reports which keys changed,
which listeners and links were opened, closed or changed, which take other certificates,
which sessions, monitors and registrations ended, and which keys wait for a restart and why.
--dry-run reports the same and changes nothing.

A file with faults, or one that names a certificate or password file that cannot be used,
changes nothing: reload prints the faults with file, line and key and exits with status 1. It
also exits with status 1 if a listener could not be opened; the rest of the configuration
holds then.`,
		Example: `  tr87proxy reload -c /etc/tr87proxy/config.yaml
  tr87proxy reload --dry-run -c /etc/tr87proxy/config.yaml
  tr87proxy reload --json --socket /run/tr87proxy/admin.sock`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/reload"
			if dryRun {
				path += "?dry-run"
			}
			var report daemon.ReloadReport
			if err := socket.ask(cmd.Context(), http.MethodPost, path, &report); err != nil {
				return err
			}
			err := write(cmd, report, func(out io.Writer) error {
				for line := range strings.Lines(report.String()) {
					fmt.Fprintln(out, printable(strings.TrimSuffix(line, "\n")))
				}
				return nil
			})
			if err != nil {
				return err
			}
			if len(report.Failures) > 0 {
				return errors.New("a listener could not be opened; free its address, then: tr87proxy server start NAME")
			}
			return nil
		},
	}
	socket.flags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "report what a reload would do, and change nothing")
	return cmd
}
