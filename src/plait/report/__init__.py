"""Pictures: one self-contained page that lays what was planned and predicted beside what was measured and learnt."""
