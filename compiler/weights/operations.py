"""The operations of TensorFlow that a network for images may have: they compute, and reach nothing outside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tlc_edge.runtime.errors import BuildError

_COMPUTE = """
    Abs Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool
    AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchNormWithGlobalNormalization BatchToSpace BatchToSpaceND
    BiasAdd BiasAddV1 Bitcast BroadcastArgs BroadcastTo Bucketize Cast Ceil CheckNumerics ClipByValue Complex Concat
    ConcatOffset ConcatV2 Const Conv Conv2D Conv2DBackpropInput
    Conv2DBackpropInputV2 Conv3D Conv3DBackpropInputV2 Cos Cosh CropAndResize Cross Cumprod Cumsum DebugGradientIdentity
    DepthToSpace DepthwiseConv2dNative Dequantize Diag DiagPart Dilation2D Div DivNoNan Einsum Elu Empty
    EnsureShape Equal Erf Erfc Exp ExpandDims Expm1 ExtractImagePatches FFT2D FakeQuantWithMinMaxArgs
    FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Floor FloorDiv FloorMod FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN Imag InTopK
    InTopKV2 Inv InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift Less LessEqual Lgamma LinSpace
    Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr LowerBound MatMul MatrixBandPart MatrixDiag MatrixDiagPart
    MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixTranspose Max MaxPool MaxPool3D MaxPoolV2
    MaxPoolWithArgmax Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Neg NextAfter NoOp
    NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NotEqual OneHot
    OnesLike Pack Pad PadV2 ParallelConcat PlaceholderWithDefault Pow PreventGradient Prod QuantizeAndDequantize
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 Range Rank Real RealDiv
    Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResizeNearestNeighborV2
    Reverse ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt ScaleAndTranslate ScatterNd SegmentMax
    SegmentMean SegmentMin SegmentSum Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Snapshot
    Softmax Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference
    Squeeze StopGradient StridedSlice Sub Sum Tan Tanh TensorScatterAdd TensorScatterUpdate Tile TopK TopKV2 Transpose
    TruncateDiv TruncateMod Unique UniqueV2 Unpack UnsortedSegmentSum UpperBound Where Xdivy Xlogy XlaConvV2 XlaDot
    Xlog1py ZerosLike AdjustContrastv2 AdjustHue AdjustSaturation HSVToRGB RGBToHSV ImageProjectiveTransformV2
    ImageProjectiveTransformV3 Inv IsotonicRegression BitwiseAnd BitwiseOr BitwiseXor Invert PopulationCount
    RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal Multinomial StatelessRandomUniform
    StatelessRandomUniformV2 StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomGetKeyCounter
    StatelessRandomGetAlg StatelessTruncatedNormal StatelessTruncatedNormalV2
    Assert Switch Merge RefSwitch RefMerge RefIdentity Enter Exit NextIteration LoopCond ControlTrigger
    If StatelessIf While StatelessWhile Case StatelessCase PartitionedCall StatefulPartitionedCall ReadVariableOp
    ResourceGather
"""
COMPUTE = frozenset(_COMPUTE.split())
_OUTSIDE = """
    ReadFile WriteFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc Print PrintV2 Save SaveV2 SaveSlices Restore
    RestoreV2 RestoreSlice MergeV2Checkpoints InitializeTableFromTextFile InitializeTableFromTextFileV2
    FixedLengthRecordReader FixedLengthRecordReaderV2 TFRecordReader TFRecordReaderV2 TextLineReader TextLineReaderV2
    WholeFileReader WholeFileReaderV2 TextLineDataset TFRecordDataset WriteSummary CreateSummaryFileWriter
    LoadDataset SaveDataset SaveDatasetV2 DatasetToTFRecord DumpDataset DebugIdentity DebugIdentityV2 CloseSummaryWriter
"""
_REACHING = frozenset(_OUTSIDE.split())
"""Some of those that are refused, known to open files or to call back; it only decides what the person is told."""

_UPDATES = """
    Assign AssignAdd AssignSub AssignVariableOp AssignAddVariableOp AssignSubVariableOp ScatterUpdate ScatterAdd
    ScatterSub ResourceScatterUpdate ResourceScatterAdd ResourceScatterSub StatefulUniform StatefulStandardNormalV2
    RngSkip RngReadAndSkip
"""
_UPDATING = frozenset(_UPDATES.split())
"""Some of those that are refused, known to change variables, as training does."""
_DRAWS = """
    RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal Multinomial StatelessRandomUniform
    StatelessRandomUniformV2 StatelessRandomNormal StatelessRandomNormalV2 StatelessTruncatedNormal
    StatelessTruncatedNormalV2
"""
_DRAWING = frozenset(_DRAWS.split())
FOR_TRAINING = (
    "as a network in training does, whose features are others than in use (Keras' export() makes such where there is a "
    "layer like RandomFlip or Resizing): save it as .keras, or export lambda image: model(image, training=False)"
)


def draws_at_random(nodes: Iterable[Any], end: str) -> str | None:
    """Return an operation that draws at random on the way to the tensor `end` of a graph; None where there is none.

    What a condition leads to is not looked at: that may be for training, and not be done.
    """
    by_name = {n.name: n for n in nodes}
    seen: set[str] = set()
    open_ = [end]
    while open_:
        name = open_.pop().removeprefix("^").partition(":")[0]
        node = by_name.get(name)
        if node is None or name in seen or node.op in ("Merge", "Switch"):
            continue
        seen.add(name)
        if node.op in _DRAWING:
            return name
        if node.op not in ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"):
            open_ += [i for i in node.input if not i.startswith("^")]
    return None


def functions_reached(nodes: Iterable[Any], library: dict[str, Any], where: str, leaves: frozenset[str]) -> set[str]:
    """Return the names of the functions of `library` that nodes call, by whatever way, once all of it may be run.

    `nodes` are NodeDefs; `leaves` are operations that are taken besides COMPUTE at the top.

    Raises:
        BuildError: one of them, or one in a function that they call, is not on the list; names it.
    """
    reached: set[str] = set()
    called = _checked(nodes, library, where, leaves)
    while called:
        name = called.pop()
        if name in reached:
            continue
        if name not in library:
            raise BuildError(f"{where}: its graph calls the function {name[:60]!r}, which is not in it; save it again")
        reached.add(name)
        called |= _checked(library[name].node_def, library, where, frozenset())
    return reached


def _checked(nodes: Iterable[Any], library: dict[str, Any], where: str, leaves: frozenset[str]) -> set[str]:
    called: set[str] = set()
    for node in nodes:
        if node.op in library:
            called.add(node.op)
        elif node.op not in COMPUTE and node.op not in leaves:
            raise BuildError(f"{where}: its graph has the operation {node.op[:60]} ({node.name[:60]}), {_why(node.op)}")
        for value in node.attr.values():
            called |= {f.name for f in (value.func, *value.list.func) if f.name}
    return called


def _why(operation: str) -> str:
    if operation in _UPDATING:
        return f"which changes variables, {FOR_TRAINING}"
    what = "reaches outside the network" if operation in _REACHING else "is none that a network for images needs"
    return f"which {what}; it was refused without running it"
