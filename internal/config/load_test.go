package config

import "testing"

func TestNewcomersFileLoadsWithoutAWord(t *testing.T) {
	cfg, diags := Load("../../gateway.hcl")
	if len(diags.Diagnostics) > 0 {
		t.Fatalf("gateway.hcl: %v", diags.Diagnostics)
	}
	if len(cfg.Listeners) != 1 || len(cfg.Relays) != 1 || len(cfg.Routes) != 1 || cfg.Admin == nil {
		t.Errorf("gateway.hcl configures less than it shows: %+v", cfg)
	}
}
