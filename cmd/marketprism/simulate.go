package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/emulator"
)

func simulateCommand(g *global) *cobra.Command {
	var o emulator.Options
	var mk, ledger string
	var faults []string
	var duration time.Duration
	c := &cobra.Command{Use: "simulate", Short: "Serve a venue's protocol on loopback, with a synthetic market",
		Long: `Serves the WebSocket and HTTP protocol of an exchange on loopback, with a synthetic
market, so that pipelines can be tried without the exchange. Faults are injected by
--fault, or while it runs by POST /_fault; GET /_stats tells what was sent.`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Market, err = market.ParseMarket(mk); err != nil {
				return &exitCode{exitUsage, err}
			}
			for _, f := range faults {
				fault, err := emulator.ParseFault(f)
				if strings.HasPrefix(f, "{") {
					fault = emulator.Fault{}
					err = json.Unmarshal([]byte(f), &fault)
				}
				if err != nil {
					return &exitCode{exitUsage, fmt.Errorf("--fault %s: %w", f, err)}
				}
				o.Faults = append(o.Faults, fault)
			}
			o.Ledger.Path = ledger
			e, err := emulator.New(o)
			if err != nil {
				if !errors.Is(err, syscall.EADDRINUSE) {
					err = &exitCode{exitUsage, err}
				}
				return err
			}
			ctx, cancel := signal.NotifyContext(c.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer cancel()
			if duration > 0 {
				ctx, cancel = context.WithTimeout(ctx, duration)
				defer cancel()
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %s on %s and %s\n", o.Venue, o.Market, e.URL(), e.HTTPURL())
			err = e.Run(ctx)
			s := e.Stats()
			fmt.Fprintf(c.OutOrStdout(), "%d frames on %d connections\n", s.Frames, s.Opened)
			if cerr := e.Close(); err == nil {
				err = cerr
			}
			return err
		}}
	f := c.Flags()
	f.StringVar(&o.Venue, "venue", "binance", strings.Join(emulator.Venues(), ", "))
	f.StringVar(&mk, "market", "spot", "spot, linear or inverse")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:9070", "address")
	f.Uint64Var(&o.Seed, "seed", 1, "the same seed gives the same market events")
	f.Int64Var(&o.FirstID, "first-id", 0, "added to trade ids and sequences")
	f.StringSliceVar(&o.Symbols, "symbols", nil, "canonical names (default BTC and ETH)")
	f.Float64Var(&o.Rate, "rate", 200, "market events a second; 0: as many as are read")
	f.IntVar(&o.Levels, "levels", 7, "levels changed by a book update")
	f.StringVar(&o.Capture, "capture", "", "play a capture file instead of a synthetic market")
	f.Float64Var(&o.Speed, "speed", 1, "of the playback; 0: as fast as it is read")
	f.StringArrayVar(&faults, "fault", nil, "inject: gap,symbol=BTCUSDT,after=5s, or the same as JSON")
	f.BoolVar(&o.Limits, "limits", false, "enforce the venue's limits")
	f.BoolVar(&o.Ledger.Off, "no-ledger", false, "keep no ledger")
	f.StringVar(&ledger, "ledger", "", "keep the ledger of what was sent in this file")
	f.DurationVar(&duration, "for", 0, "stop after this time")
	return c
}
