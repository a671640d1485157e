// The stages behind the array: bias and scale, residual, table, saturation; scores to int16; attention's deferred
// division. One result a cycle, no stall.
//
// THE TAG travels with a slot from its issue to the write (it counts where slot_last is high). Least significant first:
//
//     field      bits          from      meaning
//     parity     1             0         which of the two sets of step words applies
//     pair       1             1         pair slot of attention (reciprocals, score buffer)
//     space      2             2         0 OPERAND0, 1 OPERAND1, 2 STORE, 3 VALUES (linear only)
//     line       LineBits      4         line of the (low) byte plane; of VALUES: line of the first keys
//     groups     Banks/Rows    GroupAt   bank groups of P banks that are written
//     extra      6             ExtraAt   linear: index in the constants ring; context: log2 of the pitch
//     keys       KeyBits       KeysAt    VALUES: tokens of the tile below the length, 0..T (others: ignored)
//     final      1             FinalAt   result of the last pass of a step: with it a token tile is complete
//
//     LineBits = $clog2 of the largest of OperandDepth, StoreDepth, ValuesDepth, at least 1
//     GroupAt = 4 + LineBits, ExtraAt = GroupAt + Banks/Rows, KeysAt = ExtraAt + 6, KeyBits = $clog2(Tokens) + 1,
//     FinalAt = KeysAt + KeyBits; TagBits = max(FinalAt + 1, 40)
//
// Of a score's tag only `parity` has a meaning here; bits TagBits-1..1 are the attention unit's own. Context writes one
// byte plane; bank group g takes head (result_merge == 0 ? 0 : ((g*P) >> extra) & ((1 << result_merge) - 1)). A linear
// result of two byte planes writes the high one out_depth lines further in the next cycle. `final` of a context result
// is set on the last one of a query tile.
//
// TIMING. A slot at the array's input in cycle t (slot_valid high, registered):
//     result_valid              t + ArrayLatency                  ArrayLatency = 9 + $clog2(Banks)
//     constants ring            address in cycle r = t + ArrayLatency, data used in cycle r + 1
//     scale_r, scale_n          used in cycle r + 1, and in no other
//     residual                  low plane requested in r + 3, high plane in r + 4
//     score_valid               r + ScoreLatency                  ScoreLatency = 8
//     value_valid               r + PostLatency                   PostLatency = 14
//     write_valid (low plane)   r + PostLatency + 1
