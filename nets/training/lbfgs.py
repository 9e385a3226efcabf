"""Temporary."""

import numpy as np
import scipy.optimize
from .history import History
from .inputs import prepared
from .regularizers import regularizers_of


def fit_lbfgs(
    net,
    data,
    *,
    loss,
    regularizer=None,
    sample_weight=None,
    class_weight=None,
    max_iter=200,
    max_fun=15000,
    tol=1e-4,
    progress=False,
    history=None,
):
    x, y = prepared(net, data, loss, "data")
    p = net.parameters()
    hist = History(metric_name=loss.metric)
    w = None if sample_weight is None else sample_weight.astype(net.dtype)

    def f(v):
        p.flat[...] = v
        out = net.forward(x, train=True)
        J, g = loss(out, y, w)
        net.backward(g, input_grad=False)
        for r in regularizers_of(regularizer):
            J = J + r.penalty(net, len(x))
            r.add_gradient(net, len(x))
        return float(J), p.flat_grads.astype(np.float64)

    def cb(intermediate_result):
        hist.loss.append(float(intermediate_result.fun))
        hist.metric.append(0.0)
        hist.seconds.append(0.0)
        hist.lr.append(0.0)

    r = scipy.optimize.minimize(
        f,
        p.flat.astype(np.float64),
        method="L-BFGS-B",
        jac=True,
        callback=cb,
        options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
    )
    p.flat[...] = r.x
    hist.stopped = "converged" if r.status == 0 else r.message
    return hist
