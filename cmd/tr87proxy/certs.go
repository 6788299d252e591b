package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/certs"
)

func certsCommand() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use: "certs", Short: "Make and inspect certificates", GroupID: "server",
		Long: `certs makes a lab authority and certificates for mutual TLS, as Lync-style front ends
need them, or requests for your company's authority. It overwrites nothing; only the
owner can read the keys.`,
		Example: `  tr87proxy certs init
  tr87proxy certs issue proxy.contoso.com --kind peer
  tr87proxy certs list`,
		Args: noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&folder, "folder", "certificates", "folder with the certificates")
	_ = cmd.MarkPersistentFlagDirname("folder")
	cmd.AddCommand(certsInit(&folder), certsIssue(&folder), certsRequest(&folder), certsRenew(&folder), certsList(&folder), certsInspect(), certsExport(&folder), certsImport(&folder))
	return cmd
}

func certsInit(folder *string) *cobra.Command {
	var name string
	var days int
	var rsa bool
	cmd := &cobra.Command{
		Use: "init", Short: "Make a lab authority", Args: exactly(0),
		Long: `init makes an authority for tests and small networks: ca.pem, which peers must trust,
and ca.key. Whoever has ca.key can impersonate anybody: keep it off the network.`,
		Example: "  tr87proxy certs init\n  tr87proxy certs init --folder /root/lab --name \"Contoso lab\"",
		RunE: func(*cobra.Command, []string) error {
			return certs.Init(*folder, name, time.Duration(days)*24*time.Hour, rsa)
		},
	}
	cmd.Flags().StringVar(&name, "name", "tr87proxy lab authority", "name of the authority")
	cmd.Flags().IntVar(&days, "days", 3650, "how long it is valid")
	cmd.Flags().BoolVar(&rsa, "rsa", false, "make an RSA key, for peers without ECDSA")
	return cmd
}

// wishFlags adds the flags of commands that make a key.
func wishFlags(cmd *cobra.Command, w *certs.Wish, days *int) {
	cmd.Flags().StringVar(&w.Kind, "kind", certs.Peer, "server, client, or peer for both")
	cmd.Flags().StringSliceVar(&w.Names, "names", nil, "DNS names, addresses and URIs, separated by commas (default: NAME)")
	cmd.Flags().BoolVar(&w.RSA, "rsa", false, "make an RSA key, for peers without ECDSA")
	if days != nil {
		cmd.Flags().IntVar(days, "days", 397, "how long it is valid")
	}
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{certs.Server, certs.Client, certs.Peer}, cobra.ShellCompDirectiveNoFileComp))
}

func certsIssue(folder *string) *cobra.Command {
	var w certs.Wish
	var days int
	cmd := &cobra.Command{
		Use: "issue NAME", Short: "Make a key and a certificate, signed by the lab authority", Args: exactly(1),
		Long: `issue makes NAME.key and NAME.pem, which also contains the authority's certificate.`,
		Example: `  tr87proxy certs issue proxy.contoso.com --kind server --names proxy.contoso.com,10.1.1.5
  tr87proxy certs issue crm --kind client --names sip:crm@contoso.com`,
		RunE: func(_ *cobra.Command, args []string) error {
			w.Name, w.Valid = args[0], time.Duration(days)*24*time.Hour
			return certs.Issue(*folder, w)
		},
	}
	wishFlags(cmd, &w, &days)
	return cmd
}

func certsRequest(folder *string) *cobra.Command {
	var w certs.Wish
	cmd := &cobra.Command{
		Use: "request NAME", Short: "Make a key and a request for your company's authority", Args: exactly(1),
		Long:    `request makes NAME.key and NAME.csr. Your authority makes a certificate from NAME.csr.`,
		Example: "  tr87proxy certs request proxy.contoso.com --names proxy.contoso.com,proxy",
		RunE: func(_ *cobra.Command, args []string) error {
			w.Name = args[0]
			return certs.Request(*folder, w)
		},
	}
	wishFlags(cmd, &w, nil)
	return cmd
}

func certsRenew(folder *string) *cobra.Command {
	var days int
	cmd := &cobra.Command{
		Use: "renew NAME", Short: "Replace a certificate by a new one with the same names", Args: exactly(1),
		Long: `renew replaces a key and certificate that the lab authority has signed. The old files
stay, with the old serial number appended to their names. A running proxy uses the new
ones from the next handshake on.`,
		Example: "  tr87proxy certs renew proxy.contoso.com",
		RunE: func(_ *cobra.Command, args []string) error {
			return certs.Renew(*folder, args[0], time.Duration(days)*24*time.Hour)
		},
	}
	cmd.Flags().IntVar(&days, "days", 397, "how long it is valid")
	return cmd
}

func certsList(folder *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the certificates of the folder and when they expire", Args: exactly(0),
		Long: "list prints file, purpose, expiry and names of each certificate.", Example: "  tr87proxy certs list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := certs.List(*folder)
			if err != nil {
				return err
			}
			entries := make([]certificate, len(list))
			for i, c := range list {
				entries[i] = certificate{c.File, certs.Purpose(c.Certificate), c.NotAfter, certs.Names(c.Certificate)}
				if !slices.Contains(entries[i].Names, c.Subject.CommonName) {
					entries[i].Names = slices.Insert(entries[i].Names, 0, c.Subject.CommonName)
				}
			}
			return write(cmd, entries, func(out io.Writer) error { return printCertificates(out, entries, time.Now()) })
		},
	}
}

// certificate is a certificate as it is listed.
type certificate struct {
	File    string    `json:"file"`
	Purpose string    `json:"purpose"`
	Until   time.Time `json:"until"`
	Names   []string  `json:"names"`
}

func printCertificates(out io.Writer, list []certificate, now time.Time) error {
	for _, c := range list {
		left := "until " + c.Until.Format(time.DateOnly)
		if now.After(c.Until) {
			left = "expired " + c.Until.Format(time.DateOnly)
		}
		fmt.Fprintf(out, "%-32s %-10s %-22s %s\n", c.File, c.Purpose, left, printable(strings.Join(c.Names, " ")))
	}
	return nil
}

func certsInspect() *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "Show a certificate, request or revocation list", Args: exactly(1),
		Long:    "inspect shows names, validity, key type, fingerprint, and the pin for a configuration. It does not show keys.",
		Example: "  tr87proxy certs inspect certificates/ca.pem",
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := certs.Inspect(args[0], time.Now())
			if err != nil {
				return err
			}
			return write(cmd, list, func(out io.Writer) error { return printDescriptions(out, list) })
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
}

// printDescriptions writes what is in a file of certificates for people.
func printDescriptions(out io.Writer, list []certs.Description) error {
	for _, d := range list {
		for _, row := range d.Rows {
			fmt.Fprintf(out, "%-15s %s\n", row.Name, printable(row.Value))
		}
		fmt.Fprintln(out)
	}
	return nil
}

func certsExport(folder *string) *cobra.Command {
	var source password
	cmd := &cobra.Command{
		Use: "export NAME FILE", Short: "Write a certificate and its key as PKCS#12", Args: exactly(2),
		Long:    "export asks for a password, or reads it from standard input if that is not a terminal.",
		Example: "  tr87proxy certs export fe1.contoso.com fe1.p12",
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := source.read(cmd)
			if err != nil {
				return err
			}
			return certs.Export(*folder, args[0], args[1], text)
		},
	}
	source.flags(cmd)
	return cmd
}

func certsImport(folder *string) *cobra.Command {
	var passwordFile string
	cmd := &cobra.Command{
		Use: "import NAME FILE", Short: "Read a certificate and its key from PKCS#12", Args: exactly(2),
		Long:    "import reads the password from a file, or from the first line of standard input.",
		Example: "  tr87proxy certs import fe1.contoso.com fe1.pfx --password-file fe1.password",
		RunE: func(cmd *cobra.Command, args []string) error {
			source := password{file: passwordFile}
			if passwordFile == "" {
				source.file = "-"
			}
			text, err := source.read(cmd)
			if err != nil {
				return err
			}
			return certs.Import(*folder, args[0], args[1], text)
		},
	}
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "file with the password (default: standard input)")
	_ = cmd.MarkFlagFilename("password-file")
	return cmd
}
